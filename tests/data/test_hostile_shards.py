"""Headers of tar files that lie: the pairs before them are read, in bounded memory and time."""

import io
import tarfile

import pytest

from safeclip_jax.data.sources.webdataset import WebDataset
from tests.support import data_files
from tests.support.bounded import outcome


def header(name, kind=b"0", size=0):
    """A header whose size, in base 256, may be anything."""
    member = tarfile.TarInfo(name)
    member.type = kind
    raw = bytearray(member.tobuf(tarfile.GNU_FORMAT))
    raw[124:136] = (size % 256**12).to_bytes(12, "big") if size < 0 else b"\x80" + size.to_bytes(11)
    raw[148:156] = b" " * 8
    raw[148:156] = b"%06o\0 " % sum(raw)
    return bytes(raw)


def extended(**values):
    """A PAX header with records."""
    content = b""
    for name, value in values.items():
        body = f" {name.replace('_', '.')}={value}\n"
        length = len(body)
        while len(str(length)) + len(body) != length:
            length = len(str(length)) + len(body)
        content += f"{length}{body}".encode()
    return header("pax", b"x", len(content)) + content + b"\0" * (-len(content) % 512)


def good():
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        data_files.add_member(tar, "a.png", data_files.encoded(data_files.picture()))
        data_files.add_member(tar, "a.txt", b"words")
    content = buffer.getvalue().rstrip(b"\0")
    return content + b"\0" * (-len(content) % 512)


GOOD, NEXT = good(), header("b.png")
# What comes after a good pair, and a word of the reason; empty where nothing is lost.
HOSTILE = {
    "a name of 2^62 bytes": (header("L", b"L", 2**62), "too long"),
    "a name of 8 GiB": (header("L", b"L", 2**33), "too long"),
    "a link's name of 2^62 bytes": (header("L", b"K", 2**62), "too long"),
    "a name of -1024 bytes": (header("L", b"L", -1024), "cannot be read on"),
    "PAX of 2^62 bytes": (header("x", b"x", 2**62), "too long"),
    "global PAX of 1 TiB": (header("g", b"g", 2**40), "too long"),
    "size -512": (header("b.png", b"0", -512), "negative"),
    "size -1024": (header("b.png", b"0", -1024), "negative"),
    "size back to the beginning": (header("b.png", b"0", -512 - len(GOOD)), "negative"),
    "size 2^80": (header("b.png", b"0", 2**80), "cut off"),
    "PAX size -1024": (extended(size=-1024) + NEXT, "negative"),
    "PAX size of no number": (extended(size="nan") + NEXT, "no .txt"),
    "PAX size of 4000 digits": (extended(size="9" * 4000) + NEXT, "cut off"),
    "PAX size of 5000 digits": (extended(size="9" * 5000) + NEXT, "no .txt"),
    "PAX path up": (extended(path="../../x.png") + NEXT, "leaves"),
    "PAX path absolute": (extended(path="/etc/x.png") + NEXT, "absolute"),
    "PAX record of no length": (
        header("x", b"x", 10) + b"0 path=a\n".ljust(512, b"\0"),
        "cannot be read on",
    ),
    "PAX record that ends late": (
        header("x", b"x", 512) + b"99999999 path=a\n".ljust(512, b"\0"),
        "cannot be read on",
    ),
    "sparse, old": (header("b.png", b"S", 512) + bytes(512), "not a file"),
    "sparse, PAX": (
        extended(GNU_sparse_map="0,1," * 500 + "5", GNU_sparse_size=10) + NEXT,
        "not a file",
    ),
    "5000 names of names": (header("L", b"L") * 5000, "cannot be read on"),
    "5000 PAX headers": (extended(a="b") * 5000 + NEXT, "cannot be read on"),
    "a header that is none": (b"x" * 512, "cannot be read on"),
    "only zeros": (bytes(10240), ""),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_what_comes_before_a_hostile_header_is_read(tmp_path, name):
    content, word = HOSTILE[name]
    (tmp_path / "0.tar").write_bytes(GOOD + content)
    source = outcome(lambda: WebDataset(str(tmp_path)))
    assert list(source.captions) == ["words"] and len(source.image(0)) > 50
    reasons = [record.reason for record in source.rejected]
    assert all("\n" not in reason for reason in reasons)
    assert bool(reasons) == bool(word) and word in " ".join(reasons)


def test_a_name_that_is_no_utf_8_is_a_key(tmp_path):
    with tarfile.open(
        tmp_path / "0.tar", "w", format=tarfile.GNU_FORMAT, encoding="latin-1"
    ) as tar:
        data_files.add_member(tar, "caf\xe9.png", data_files.encoded(data_files.picture()))
        data_files.add_member(tar, "caf\xe9.txt", b"words")
    source = WebDataset(str(tmp_path))
    assert source.keys[0].encode(errors="surrogateescape") == b"0/caf\xe9"
