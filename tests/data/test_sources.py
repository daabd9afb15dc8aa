"""Every kind of source reads what its format holds; nothing bad is fatal, silent or let out."""

import json
import re
import shutil
import tarfile

import numpy as np
import pytest
from absl import flags
from PIL import Image

from safeclip_jax.data.decode import Resized, decode
from safeclip_jax.data.files import Files
from safeclip_jax.data.skipped import SkippedRecords
from safeclip_jax.data.sources import SourceOptions, mix, open_source
from safeclip_jax.data.sources.scenes import Scenes
from safeclip_jax.data.sources.table import Table
from safeclip_jax.data.sources.webdataset import WebDataset
from safeclip_jax.data.strings import Changed, PackedStrings
from safeclip_jax.errors import BadRecord, UserError
from tests.data.test_data import loader
from tests.support import data_files
from tests.support.data_files import encoded, picture, write_csv


def opened(spec, **options):
    return open_source(spec, SourceOptions(**options))


def test_packed_strings_are_a_sequence():
    words = ["", "ä", "two words", "漢字", ""]
    packed = PackedStrings.pack(words)
    assert list(packed) == words and packed[1:4] == words[1:4] and packed[-2] == "漢字"
    assert len(packed) == 5 and "ä" in packed
    with pytest.raises(IndexError):
        packed[5]
    changed = Changed(packed, {1: "b"})
    assert list(changed) == ["", "b", "two words", "漢字", ""] and changed[-4] == "b"


@pytest.fixture(scope="module")
def formats(tmp_path_factory):
    """The same 24 scenes in every format: {kind: (spec, options)}."""
    from safeclip_jax.data import prepare

    root, files = tmp_path_factory.mktemp("formats"), data_files.scene_files(24)
    table = data_files.write_scenes_csv(root / "csv", files)
    labelled = {"label_column": "label"}
    specs = {
        "csv": (f"csv:{table}", labelled),
        "webdataset": (
            f"webdataset:{data_files.write_scenes_shards(root / 'shards', files)}",
            labelled,
        ),
        "tfds": (
            f"tfds:{data_files.write_scenes_tfds(root / 'tfds', files)}",
            {"data_dir": str(root / "tfds")},
        ),
    }
    prepare.run(opened(specs["csv"][0], **labelled), root / "prepared", size=0, pairs_a_shard=10)
    specs["arrayrecord"] = (f"arrayrecord:{root / 'prepared'}", {})
    return specs


@pytest.mark.parametrize("kind", ["webdataset", "arrayrecord", "tfds"])
def test_every_format_gives_bit_identical_batches(formats, kind):
    first, other = (Resized(opened(formats[k][0], **formats[k][1]), 32) for k in ("csv", kind))
    assert len(other) == 24
    if kind == "tfds":  # TFDS shuffles when it writes
        number = {caption: i for i, caption in enumerate(other.captions)}
        assert len(number) == 24
        other = Resized(mix.Subset(other, np.array([number[c] for c in first.captions])), 32)
    ours = loader(first).training_batches(np.arange(24), 8, (0, 1), (True, True))
    theirs = loader(other).training_batches(np.arange(24), 8, (0, 1), (True, True))
    for a, b in zip(ours, theirs, strict=True):
        for name in a:
            np.testing.assert_array_equal(a[name], b[name])
    names = [[s.class_names[i] for i in s.labels] for s in (first, other)]
    assert names[0] == names[1]


def test_worker_processes_make_the_same_batches(formats):
    flags.FLAGS.mark_as_parsed()  # as the program's main does; Grain reads its own flags
    source = Resized(opened(formats["csv"][0], label_column="label"), 32)
    args = np.arange(24), 8, (0, 1), (True, True)
    threads = list(loader(source).training_batches(*args))
    workers = list(loader(source, cache=0, workers=2).training_batches(*args))
    for a, b in zip(threads, workers, strict=True):
        for name in a:
            np.testing.assert_array_equal(a[name], b[name])


def test_column_names_separators_and_quotes(tmp_path):
    (tmp_path / "good.png").write_bytes(encoded(picture()))
    for name, delimiter in (("a.tsv", "\t"), ("b.csv", ";"), ("c.csv", "\t"), ("d.csv", "|")):
        rows = [("good.png", 'a "quoted", word'), ("good.png", "two\nlines")]
        path = write_csv(tmp_path, rows, ("filepath", "title"), name, delimiter)
        assert list(Table(path).captions) == ['a "quoted", word', "two\nlines"]
    path = tmp_path / "bom.csv"
    path.write_bytes(b"\xef\xbb\xbfimage,text\r\ngood.png,words\r\n\r\n")
    assert list(Table(str(path)).captions) == ["words"]
    with pytest.raises(UserError, match="no column 'text', only 'image', 'caption'"):
        Table(write_csv(tmp_path, [("a", "b")]), caption_column="text")
    with pytest.raises(UserError, match=r"no column of captions .*data\.caption_column"):
        Table(write_csv(tmp_path, [("a", "b")], ("image", "words")))
    with pytest.raises(UserError, match="no pairs"):
        Table(write_csv(tmp_path, []))
    with pytest.raises(UserError, match=r"gone\.csv cannot be opened"):
        Table(str(tmp_path / "gone.csv"))


def test_parquet(tmp_path):
    pa = pytest.importorskip("pyarrow")
    import pyarrow.parquet as parquet

    (tmp_path / "good.png").write_bytes(encoded(picture()))
    columns = {
        "path": ["good.png", None, "good.png", "good.png"],
        "caption": ["a wall", "no path", None, "b"],
        "label": ["wall", "x", "x", None],
    }
    parquet.write_table(pa.table(columns), tmp_path / "pairs.parquet")
    source = opened(f"parquet:{tmp_path}/pairs.parquet", label_column="label")
    assert list(source.captions) == ["a wall"] and list(source.class_names) == ["wall"]
    reasons = [f"{r.key}: {r.reason}" for r in source.rejected]
    assert reasons == [
        "row 2: image: image path is missing",
        "row 3: caption is missing",
        "row 4: label is missing",
    ]
    (tmp_path / "text.parquet").write_text("no")
    with pytest.raises(UserError, match="no Parquet file"):
        opened(f"parquet:{tmp_path}/text.parquet")


def test_folder_and_coco(tmp_path):
    for name in ("sports_car", "dog"):
        (tmp_path / "classes" / name).mkdir(parents=True)
        (tmp_path / "classes" / name / "1.png").write_bytes(encoded(picture()))
    (tmp_path / "classes" / "dog" / "notes.md").write_text("no")
    source = opened(f"folder:{tmp_path}/classes")
    assert list(source.keys) == ["dog/1.png", "sports_car/1.png"]
    assert list(source.class_names) == ["dog", "sports car"] and "sports car" in source.captions[1]
    assert [r.key for r in source.rejected] == ["dog/notes.md"]
    images = [{"id": 7, "file_name": "dog/1.png"}, {"id": 8, "file_name": "../../x.png"}]
    annotations = [
        {"id": 1, "image_id": 7, "caption": "a dog"},
        {"id": 2, "image_id": 7, "caption": "the same dog"},
        {"id": 3, "image_id": 8, "caption": "out"},
        {"id": 4, "image_id": 9, "caption": "unknown"},
        {"id": 5, "image_id": 7, "caption": 5},
        "words",
    ]
    path = tmp_path / "captions.json"
    path.write_text(json.dumps({"images": images, "annotations": annotations}))
    source = opened(f"coco:{path}", images=str(tmp_path / "classes"))
    assert list(source.captions) == ["a dog", "the same dog"]
    assert source.image(1) == encoded(picture())
    assert [r.key for r in source.rejected] == ["3", "4", "5", "annotation 5"]
    path.write_text('{"images": 1}')
    with pytest.raises(UserError, match="no COCO captions file"):
        opened(f"coco:{path}")


def test_remote_files_through_fsspec(tmp_path):
    import fsspec

    memory = fsspec.filesystem("memory")
    for key, image, caption, _ in data_files.scene_files(4):
        memory.pipe(f"/bucket/csv/{key}.jpg", image)
        memory.pipe(f"/bucket/csv/{key}.txt", caption.encode())
    captions = [memory.cat(f"/bucket/csv/{i:05d}.txt").decode() for i in range(4)]
    table = "image,caption\n" + "".join(f"{i:05d}.jpg,{c!r}\n" for i, c in enumerate(captions))
    memory.pipe("/bucket/csv/pairs.csv", table.replace("'", '"').encode())
    data_files.write_scenes_shards(tmp_path, data_files.scene_files(4))
    memory.put(str(tmp_path), "/bucket/shards", recursive=True)
    local = opened(f"webdataset:{tmp_path}")
    for spec in (
        "csv:memory://bucket/csv/pairs.csv",
        "webdataset:memory://bucket/shards",
        "webdataset:memory://bucket/shards/*.tar",
        "webdataset:memory://bucket/shards/{00000..00001}.tar",
    ):
        remote = opened(spec)
        assert list(remote.captions) == captions == list(local.captions)
        assert [remote.image(i) for i in range(4)] == [local.image(i) for i in range(4)]
    files = Files("memory://bucket/csv")
    for name, reason in (("../shards/00000.tar", "leaves"), ("gone", "missing")):
        with pytest.raises(BadRecord, match=reason):
            files.read(name)
    with pytest.raises(UserError, match="cannot be read on this machine"):
        Files("nosuch://bucket")


def test_parts_choices_and_weights(tmp_path):
    source = Scenes(100)
    first, second = mix.part(source, 0, 0.7, 5), mix.part(source, 0.7, 1, 5)
    assert len(first) == 70 and sorted([*first.keys, *second.keys]) == sorted(source.keys)
    assert list(mix.part(source, 0, 0.7, 6).keys) != list(first.keys)
    a, b, c = (list(mix.sample(source, 10, seed).keys) for seed in (0, 0, 1))
    assert a == b != c and len(set(a)) == 10
    mixed = mix.Concatenation([mix.weighted(source, 2.5, 0), mix.weighted(Scenes(10, 1), 0.5, 0)])
    assert len(mixed) == 255 and mixed.labels is not None
    for i in (0, 99, 100, 230, 254):
        assert mixed[i].caption == mixed.captions[i] and mixed[i].label == mixed.labels[i]
    np.testing.assert_array_equal(mixed.image(150), source.image(50))
    assert mixed.labels[150] == source.labels[50]
    for bad in (lambda: mix.part(source, 0.5, 0.5, 0), lambda: mix.sample(source, 101, 0),
                lambda: mix.weighted(source, 0, 0)):  # fmt: skip
        with pytest.raises(UserError):
            bad()


def test_unknown_and_unprepared_sources_say_what_to_do(tmp_path):
    for spec, message in (
        ("cvs:x.csv", "unknown data.source 'cvs': did you mean 'csv'"),
        ("csv", "--config.data.source=csv:PATH"),
        (f"webdataset:{tmp_path}", "no file matches"),
        (f"arrayrecord:{tmp_path}", "prepare' finished"),
        (f"folder:{tmp_path}/gone", "gone is not there"),
        (f"folder:{tmp_path}", "no class folder"),
    ):
        with pytest.raises(UserError, match=re.escape(message)):
            opened(spec)
    with pytest.raises(UserError, match="tfds build mnist --file_format=array_record"):
        opened("tfds:mnist", data_dir=str(tmp_path))
    with pytest.raises(UserError, match="not a data set that TFDS knows"):
        opened("tfds:no_such_set", data_dir=str(tmp_path))


def test_many_shards_are_indexed_over_processes(tmp_path):
    files = data_files.scene_files(18)
    few = WebDataset(data_files.write_scenes_shards(tmp_path / "few", files, 2))
    many = WebDataset(data_files.write_scenes_shards(tmp_path / "many", files, 18))
    assert list(many.captions) == list(few.captions)
    assert [many.image(i) for i in range(18)] == [few.image(i) for i in range(18)]


def test_a_missing_shard_of_a_range_is_listed(tmp_path):
    folder = data_files.write_scenes_shards(tmp_path, data_files.scene_files(6), 2)
    source = WebDataset(f"{folder}/{{00000..00002}}.tar")
    assert len(source) == 6
    assert [record.key for record in source.rejected] == ["00002.tar"]


@pytest.mark.parametrize("name", data_files.BAD_IMAGES)
def test_what_is_no_image_is_refused_with_a_fixed_reason(name):
    content, reason = data_files.BAD_IMAGES[name]
    messages = set()
    for _ in range(2):
        with pytest.raises(BadRecord, match=reason) as caught:
            decode(content, 32)
        messages.add(str(caught.value))
    (message,) = messages
    assert "\n" not in message and "0x7f" not in message


def bad_csv(folder):
    """A table with every bad record in it; returns its path and {key or line: reason}."""
    root = folder / "csv"
    (root / "images").mkdir(parents=True)
    secret = encoded(picture("red"))
    (folder / "secret.png").write_bytes(secret)
    (root / "link.png").symlink_to(folder / "secret.png")
    (root / "linked_folder").symlink_to(folder)
    rows, expected = [], {}
    for i in range(80):
        (root / f"good{i}.png").write_bytes(encoded(picture((3 * i, 0, 0))))
        rows.append((f"good{i}.png", f"a good picture number {i}"))
    (root / "good.png").write_bytes(encoded(picture()))
    for name, (content, reason) in data_files.BAD_IMAGES.items():
        (root / f"{name}.png").write_bytes(content)
        rows.append((f"{name}.png", f"the words of {name}"))
        expected[f"{name}.png"] = reason
    for caption, reason in data_files.BAD_CAPTIONS.values():
        rows.append(("good.png", caption))
        expected[f"line {len(rows) + 1}"] = reason
    for name, reason in data_files.BAD_PATHS.items():
        rows.append((name, "words"))
        at_once = reason in ("leaves", "absolute", "NUL", "empty")
        expected[f"line {len(rows) + 1}" if at_once else name] = reason
    path = write_csv(root, rows)
    lines = len(rows) + 1
    with (root / "pairs.csv").open("ab") as file:
        for raw, reason in data_files.BAD_LINES.items():
            file.write(raw)
            lines += 1
            expected[f"line {lines}"] = reason
        file.write(b"good0.png,the last row is still read\n")
    return path, expected


def bad_shards(folder):
    """Shards with every bad member; returns their folder and [(key, reason)]."""
    folder.mkdir()
    expected = []
    with tarfile.open(folder / "00000.tar", "w") as tar:
        for i in range(40):
            data_files.add_member(tar, f"good{i or ''}.png", encoded(picture((0, 6 * i, 0))))
            data_files.add_member(tar, f"good{i or ''}.txt", f"good {i}".encode())
        for members in data_files.bad_members():
            for name, content, changes, reason in members:
                data_files.add_member(tar, name, content, **changes)
                if reason:
                    expected.append((name.rpartition(".")[0], reason))
    with tarfile.open(folder / "00001.tar", "w") as tar:
        for name in ("first", "cut"):
            noise = np.random.default_rng(0).integers(0, 255, (90, 90, 3), np.uint8)
            data_files.add_member(tar, f"{name}.txt", b"cut in half")
            data_files.add_member(tar, f"{name}.png", encoded(Image.fromarray(noise)))
    cut = folder / "00001.tar"
    with tarfile.open(cut) as tar:
        last = tar.getmembers()[-1].offset_data
    cut.write_bytes(cut.read_bytes()[: last + 1000])
    expected.append(("cut", "cut off"))
    shutil.copy(folder / "00000.tar", folder / "00002.tar")
    with (folder / "00002.tar").open("r+b") as file:
        file.seek(512 * 4)
        file.write(b"\xff" * 512)
    (folder / "00003.tar").write_bytes(b"<html>404</html>" * 100)
    expected.append(("end of the shard", "cannot be read"))
    (folder / "00004.tar").write_bytes(b"")
    return str(folder), expected


def test_every_bad_row_of_a_table_is_skipped_and_listed(tmp_path):
    path, expected = bad_csv(tmp_path)
    assert len(expected) >= 40
    source = Resized(Table(path), 32)
    assert source.captions[len(source) - 1] == "the last row is still read"
    skipped = SkippedRecords(source, 0.9)
    skipped.list_in(tmp_path / "skipped.jsonl")
    for _ in range(2):
        for batch in loader(source, skipped=skipped).scoring_batches(np.arange(len(source)), 16):
            for image, valid in zip(batch["image"], batch["valid"], strict=True):
                assert valid or not image.any()
                assert not (image == np.array([255, 0, 0])).all(), "the secret was read"
    lines = [json.loads(line) for line in (tmp_path / "skipped.jsonl").read_text().splitlines()]
    reasons = {line["key"]: line["reason"] for line in lines}
    assert len(lines) == len(reasons) == len(skipped) == len(expected)
    for key, reason in expected.items():
        assert re.search(reason, reasons[key]), (key, reason, reasons[key])
    usable = len(source) - len(skipped.reasons)
    assert usable == 81


def test_every_bad_member_of_a_shard_is_rejected_and_listed(tmp_path):
    folder, expected = bad_shards(tmp_path / "shards")
    source = WebDataset(folder)
    found = [(r.key, r.reason) for r in source.rejected]
    for name, reason in expected:
        assert any(name in key and re.search(reason, why) for key, why in found), (name, found)
    good = {f"{shard}/good{i or ''}" for i in range(40) for shard in ("00000", "00002")}
    assert good - set(source.keys) <= {"00002/good1", "00002/good"} | {
        f"00002/good{i}" for i in range(40)
    }
    assert {f"00000/good{i or ''}" for i in range(40)} | {"00001/first"} <= set(source.keys)
    assert all(key.rpartition("/")[2].startswith(("good", "first")) for key in source.keys)


def test_bad_pairs_never_enter_a_batch_and_others_take_their_places(tmp_path):
    path, _ = bad_csv(tmp_path)
    source = Resized(Table(path), 32)
    pairs = np.arange(len(source))
    batches = list(loader(source).training_batches(pairs, 16, (0, 0), (False,)))
    again = list(loader(source, cache=0).training_batches(pairs, 16, (0, 0), (False,)))
    for a, b in zip(batches, again, strict=True):
        np.testing.assert_array_equal(a["index"], b["index"])
        for i, image in zip(a["index"], a["image"], strict=True):
            np.testing.assert_array_equal(image, source.image(int(i)))


def test_too_many_bad_records_stop_the_run_with_a_summary(tmp_path):
    path, _ = bad_csv(tmp_path)
    source = Resized(Table(path), 32)
    with pytest.raises(UserError, match=r"\d+ of \d+ records cannot be used.*max_skipped_share"):
        skipped = SkippedRecords(source, 0.25)
        list(loader(source, skipped=skipped).scoring_batches(np.arange(len(source)), 16))
    with pytest.raises(UserError, match="the last: line"):
        SkippedRecords(source, 0.01)


def test_skipped_records_are_shared_between_processes(tmp_path):
    source = Scenes(10)
    box = {}
    a = SkippedRecords(source, 1.0, lambda text: box.setdefault("a", [text, '[[7, "torn"]]']))
    a.list_in(tmp_path / "skipped.jsonl")
    a.note({3: "gone"})
    assert not a.reasons
    a.share()
    assert a.reasons == {3: "gone", 7: "torn"}
    resumed = SkippedRecords(source, 1.0)
    resumed.list_in(tmp_path / "skipped.jsonl")
    assert resumed.reasons == a.reasons
    resumed.note({3: "gone"})
    assert len((tmp_path / "skipped.jsonl").read_text().splitlines()) == 2


def test_decode_turns_upright_and_handles_every_mode():
    left = Image.new("RGB", (100, 60))
    left.paste("red", (0, 0, 50, 60))
    exif = Image.Exif()
    exif[0x0112] = 3
    turned = decode(encoded(left, "JPEG", exif=exif), 32)
    assert turned.shape == (32, 32, 3)
    assert turned[:, -1, 0].min() > 200 and turned[:, 0, 0].max() < 50
    clear = decode(encoded(Image.new("RGBA", (40, 40), (0, 0, 0, 0))), 32)
    assert (clear == 255).all()
    cmyk = decode(encoded(Image.new("CMYK", (40, 40), (0, 255, 255, 0)), "JPEG"), 32)
    assert cmyk[0, 0, 0] > 200 and cmyk[0, 0, 1] < 60
    deep = Image.fromarray(np.full((40, 40), 32768, np.uint16))
    assert np.abs(decode(encoded(deep), 32).astype(int) - 128).max() <= 1
    palette = picture("blue").convert("P")
    assert decode(encoded(palette), 32)[0, 0].tolist() == [0, 0, 255]
    see_through = picture("blue").convert("P")
    see_through.info["transparency"] = see_through.getpixel((0, 0))
    assert (
        decode(encoded(see_through, transparency=see_through.getpixel((0, 0))), 32) == 255
    ).all()
    frames = [picture("blue"), picture("red")]
    animated = encoded(frames[0], "GIF", save_all=True, append_images=frames[1:])
    assert decode(animated, 32)[5, 5, 2] > 250
    assert decode(encoded(picture("white", mode="1")), 32).min() == 255
    assert decode(encoded(picture(128, mode="L")), 32).tolist()[3][3] == [128] * 3


def test_a_large_jpeg_keeps_its_detail_in_draft_mode():
    scene = Image.fromarray(Scenes(1, 5, size=512).image(0))
    ours = decode(encoded(scene, "JPEG", quality=95), 32).astype(int)
    exact = np.asarray(scene.resize((32, 32), Image.Resampling.BICUBIC)).astype(int)
    assert np.abs(ours - exact).mean() < 3
