"""Whatever bytes and paths data holds: no other error, and nothing outside its folder."""

import io
import tarfile

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from safeclip_jax.data.decode import decode
from safeclip_jax.data.files import Files
from safeclip_jax.data.sources.table import Table
from safeclip_jax.data.sources.webdataset import WebDataset
from safeclip_jax.errors import BadRecord, UserError
from tests.support import data_files

SHARED = settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@pytest.fixture
def root(tmp_path):
    (tmp_path / "data" / "inner").mkdir(parents=True)
    (tmp_path / "data" / "a.png").write_bytes(b"inside")
    (tmp_path / "data" / "inner" / "a.png").write_bytes(b"inside")
    (tmp_path / "a.png").write_bytes(b"OUTSIDE")
    (tmp_path / "data" / "link").symlink_to(tmp_path)
    (tmp_path / "data" / "link.png").symlink_to(tmp_path / "a.png")
    return tmp_path


@SHARED
@given(
    st.lists(
        st.sampled_from(
            ["..", ".", "a.png", "inner", "link", "link.png", "", "~", "\\", "/", "%2e"]
        ),
        min_size=1,
        max_size=6,
    ),
    st.sampled_from(["/", "\\", "//"]),
    st.sampled_from(["", "/", "{root}/", "file://", "{root}/data/"]),
)
def test_no_path_reads_outside_the_root(root, parts, separator, prefix):
    name = prefix.format(root=root) + separator.join(parts)
    try:
        assert Files(str(root / "data")).read(name) == b"inside"
    except BadRecord as error:
        assert "\n" not in str(error)


@SHARED
@given(st.binary(max_size=400))
def test_any_bytes_are_a_table_or_an_error_to_read(root, content):
    path = root / "data" / "pairs.csv"
    path.write_bytes(b"image,caption\n" + content)
    try:
        source = Table(str(path))
    except UserError as error:
        assert "\n" not in str(error)
        return
    for i in range(len(source)):
        assert source.captions[i].strip()
        with pytest.raises(BadRecord):
            decode(source.image(i), 32)
    path.write_bytes(content)
    try:
        Table(str(path))
    except UserError as error:
        assert "\n" not in str(error)


def shard():
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for i in range(3):
            data_files.add_member(tar, f"{i}.png", data_files.encoded(data_files.picture()))
            data_files.add_member(tar, f"{i}.txt", b"words")
            data_files.add_member(tar, f"{i}.json", b'{"label": "wall"}')
    return buffer.getvalue()


SHARD = shard()


@SHARED
@given(
    st.lists(st.tuples(st.integers(0, len(SHARD) - 1), st.integers(0, 255)), max_size=12),
    st.integers(0, len(SHARD)),
)
def test_a_damaged_shard_gives_pairs_or_reasons(root, changes, length):
    content = bytearray(SHARD)
    for place, value in changes:
        content[place] = value
    (root / "data" / "shards").mkdir(exist_ok=True)
    (root / "data" / "shards" / "0.tar").write_bytes(content[:length])
    try:
        source = WebDataset(str(root / "data" / "shards"), label_column="label")
    except UserError:
        return
    assert all(record.reason and "\n" not in record.reason for record in source.rejected)
    for i in range(len(source)):
        try:
            assert decode(source.image(i), 32).shape == (32, 32, 3)
        except BadRecord as error:
            assert "\n" not in str(error)


IMAGES = [
    data_files.encoded(data_files.picture(), form)
    for form in ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF")
]


@SHARED
@given(
    st.sampled_from(IMAGES),
    st.lists(st.tuples(st.integers(0, 10_000), st.integers(0, 255)), max_size=8),
    st.integers(0, 10_000),
)
def test_a_damaged_image_decodes_or_is_refused(content, changes, length):
    damaged = bytearray(content)
    for place, value in changes:
        damaged[place % len(damaged)] = value
    try:
        assert decode(bytes(damaged[:length]), 32).shape == (32, 32, 3)
    except BadRecord as error:
        assert "\n" not in str(error)
