"""Data files that tests write: good pairs in every format, and every kind of bad record."""

import csv
import io
import json
import struct
import tarfile
import zlib

import numpy as np
from PIL import Image

from safeclip_jax.data.sources.scenes import Scenes


def encoded(image, form="PNG", **options):
    buffer = io.BytesIO()
    image.save(buffer, form, **options)
    return buffer.getvalue()


def picture(color="blue", size=(48, 40), mode="RGB"):
    return Image.new(mode, size, color)


def scene_files(count, size=48, form="JPEG", seed=3):
    """(key, image bytes, caption, class name) of so many scenes."""
    scenes = Scenes(count, seed, size=size)
    return [
        (
            f"{i:05d}",
            encoded(Image.fromarray(scenes.image(i)), form),
            scenes.captions[i],
            scenes.class_names[scenes.labels[i]],
        )
        for i in range(count)
    ]


def write_csv(folder, rows, header=("image", "caption"), name="pairs.csv", delimiter=","):
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / name).open("w", newline="") as file:
        csv.writer(file, delimiter=delimiter).writerows([header, *rows])
    return str(folder / name)


def write_scenes_csv(folder, files):
    folder.mkdir(parents=True, exist_ok=True)
    for key, image, _, _ in files:
        (folder / f"{key}.jpg").write_bytes(image)
    rows = [(f"{key}.jpg", caption, label) for key, _, caption, label in files]
    return write_csv(folder, rows, ("image", "caption", "label"))


def add_member(tar, name, content, **changes):
    member = tarfile.TarInfo(name)
    member.size = len(content)
    for key, value in changes.items():
        setattr(member, key, value)
    tar.addfile(member, io.BytesIO(content))


def write_scenes_shards(folder, files, shards=2):
    folder.mkdir(parents=True, exist_ok=True)
    for number, part in enumerate(np.array_split(np.arange(len(files)), shards)):
        with tarfile.open(folder / f"{number:05d}.tar", "w") as tar:
            for i in part:
                key, image, caption, label = files[i]
                add_member(tar, f"{key}.jpg", image)
                add_member(tar, f"{key}.txt", caption.encode())
                add_member(tar, f"{key}.json", json.dumps({"label": label}).encode())
    return str(folder)


def write_scenes_tfds(folder, files):
    """A prepared TFDS data set of scenes, as its builders write it; returns its name."""
    rows = [{"image": i, "caption": c, "label": label} for _, i, c, label in files]
    write_tfds(folder, "SceneCaptions", {"train": rows}, list(Scenes(1).class_names), "caption")
    return "scene_captions"


def write_tfds(folder, name, splits, labels=(), caption="", form="jpeg"):
    """Writes a data set as TFDS' builders do, in its own format.

    Args:
      folder: data directory.
      name: of the builder, in camel case.
      splits: for each split, rows with `image` and, if asked for, `label` and the caption.
      labels: names of the feature `label`; none for no such feature.
      caption: name of a text feature; `captions` is COCO's sequence of texts.
      form: of the image files.
    """
    import tensorflow_datasets as tfds

    features = {"image": tfds.features.Image(encoding_format=form)}
    if labels:
        features["label"] = tfds.features.ClassLabel(names=labels)
    if caption:
        text = tfds.features.Text()
        features[caption] = tfds.features.Sequence({"text": text}) if caption[-1] == "s" else text

    def generate(self, rows):
        for number, row in enumerate(rows):
            yield number, {**row, "image": io.BytesIO(row["image"])}

    with tfds.core.registered.skip_registration():  # tests define it more than once
        kind = type(
            name,
            (tfds.core.GeneratorBasedBuilder,),
            {
                "VERSION": tfds.core.Version("1.0.0"),
                "_info": lambda self: self.dataset_info_from_configs(
                    features=tfds.features.FeaturesDict(features)
                ),
                "_split_generators": lambda self, manager: {
                    split: self._generate_examples(rows) for split, rows in splits.items()
                },
                "_generate_examples": generate,
                "__module__": __name__,
            },
        )
    builder = kind(data_dir=str(folder), file_format="array_record")
    builder.download_and_prepare(
        download_config=tfds.download.DownloadConfig(num_shards=2, try_download_gcs=False)
    )


def png_with_size(width, height):
    """A small PNG file that claims to be huge: a decompression bomb."""

    def chunk(kind, content):
        checksum = struct.pack(">I", zlib.crc32(kind + content))
        return struct.pack(">I", len(content)) + kind + content + checksum

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    body = zlib.compress(b"\0" * 10_000)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", body) + chunk(b"IEND", b"")
    )


# Files that are no usable image, with a word of the reason.
BAD_IMAGES = {
    "zero_bytes": (b"", "empty file"),
    "one_byte": (b"\xff", "not an image"),
    "html": (b"<!DOCTYPE html><html>404</html>", "not an image"),
    "json_error": (b'{"error": "gone"}', "not an image"),
    "text": (b"placeholder", "not an image"),
    "svg": (b'<svg xmlns="http://www.w3.org/2000/svg"></svg>', "not an image"),
    "pdf": (b"%PDF-1.4\n%%EOF", "not an image"),
    "postscript": (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n", "not an image"),
    "elf": (b"\x7fELF" + bytes(60), "not an image"),
    "zip": (b"PK\x03\x04" + bytes(40), "not an image"),
    "jpeg_header_only": (b"\xff\xd8\xff\xe0", "not an image"),
    "truncated_jpeg": (encoded(picture(size=(300, 200)), "JPEG")[:-400], "truncated"),
    "truncated_png": (
        encoded(Image.fromarray(np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8)))[
            :4000
        ],
        "truncated",
    ),
    "truncated_webp": (encoded(picture(), "WEBP")[:30], "not an image|decode"),
    "truncated_gif": (encoded(picture(mode="P", color=0), "GIF")[:40], "decode|not an image"),
    "broken_png_crc": (
        encoded(picture())[:37] + b"XXXX" + encoded(picture())[41:],
        "not an image|decoded",
    ),
    "bomb_pixels": (png_with_size(60_000, 60_000), "too large|bomb"),
    "bomb_pixels_below_pillows_limit": (png_with_size(11_000, 11_000), "too large"),
    "zero_width_png": (png_with_size(0, 10), "decoded|not an image"),
    "half_of_a_png_signature": (b"\x89PNG\r\n", "not an image"),
    "random_bytes": (np.random.default_rng(1).bytes(2000), "not an image"),
}

# Captions that cannot be used, with a word of the reason.
BAD_CAPTIONS = {
    "empty": ("", "empty"),
    "blank": ("  \t ", "empty"),
    "nan": ("NaN", "empty"),
    "long": ("word " * 200_000, "longer than"),
    "nul": ("a\0b", "NUL"),
}

# Image paths that may not be read or are not there, with a word of the reason.
BAD_PATHS = {
    "gone.png": "missing",
    "../secret.png": "leaves",
    "images/../../secret.png": "leaves",
    "..\\secret.png": "leaves",
    "/etc/hostname": "absolute",
    "C:\\secret.png": "absolute",
    "file:///etc/hostname": "absolute",
    "http://127.0.0.1/x.png": "absolute",
    "link.png": "by a link",
    "linked_folder/secret.png": "by a link",
    "nul\0.png": "NUL",
    "": "empty",
    "images": "not a file",
    "x" * 300 + ".png": "cannot be read",
}

# Raw lines of a CSV file that are no row, with a word of the reason.
BAD_LINES = {
    b"good.png\n": "1 fields where",
    b"good.png,a,b,c\n": "4 fields where",
    b'good.png,"never, closed\n': "never closes",
    b'good.png,"closed" and, more\n': "quotes",
    b"good.png,\xff\xfe bad bytes\n": "UTF-8",
}


def bad_members():
    """(member name, content, changes, the reason's word) of tar members that make no pair."""
    image = encoded(picture())
    return [
        [("alone.png", image, {}, "no .txt or .json")],
        [("words.txt", b"words", {}, "no image")],
        [("empty.png", b"", {}, "empty file"), ("empty.txt", b"a", {}, "")],
        [("latin.png", image, {}, "UTF-8"), ("latin.txt", b"caf\xe9", {}, "")],
        [("broken.png", image, {}, ".json cannot"), ("broken.json", b"{", {}, "")],
        [("list.png", image, {}, "no object"), ("list.json", b"[1]", {}, "")],
        [("none.png", image, {}, "missing"), ("none.json", b"{}", {}, "")],
        [("null.png", image, {}, "missing"), ("null.json", b'{"caption": null}', {}, "")],
        [("number.png", image, {}, "not text"), ("number.json", b'{"caption": 3}', {}, "")],
        [("deep.png", image, {}, "json|recursion"), ("deep.json", b"[" * 100_000, {}, "")],
        [("long.png", image, {}, "too long"), ("long.txt", b"a" * 2_000_000, {}, "")],
        [("../up.png", image, {}, "leaves"), ("up.txt", b"a", {}, "no image")],
        [("/abs.png", image, {}, "absolute"), ("abs.txt", b"a", {}, "no image")],
        [("sym.png", b"", {"type": tarfile.SYMTYPE, "linkname": "/etc/passwd"}, "link")],
        [("hard.png", b"", {"type": tarfile.LNKTYPE, "linkname": "good.png"}, "link")],
        [("fifo.png", b"", {"type": tarfile.FIFOTYPE}, "link or a device")],
        [("good.png", image, {}, "second member")],
    ]
