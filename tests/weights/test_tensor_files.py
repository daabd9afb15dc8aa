"""Files of tensors whose headers lie."""

import json
import struct

import pytest

from safeclip_jax.weights import tensor_files
from tests.support.bounded import outcome

HUGE = 2**62


def made(header, body=b"", length=None):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + body


def one(shape, offsets, dtype="F32", body=bytes(4)):
    tensor = {"dtype": dtype, "shape": shape, "data_offsets": offsets}
    return made({"a": tensor}, body)


HOSTILE = {
    "nothing": b"",
    "seven bytes": bytes(7),
    "a header of no bytes": made(b""),
    "a header of 2^63 bytes": made({}, length=2**63),
    "a header of 2^64-1 bytes": made({}, length=2**64 - 1),
    "a header of 100 MB that is not there": made({}, length=10**8),
    "a header nested 100,000 deep": made(b"[" * 100_000),
    "objects nested 100,000 deep": made(b'{"a":' * 100_000),
    "a list": made([]),
    "no UTF-8": made(b'{"\xff\xfe":1}'),
    "numbers as metadata": made({"__metadata__": {"a": 1}}),
    "nested metadata": made(b'{"__metadata__":' + b"[" * 10_000),
    "an unknown type": one([1], [0, 4], "X9"),
    "half a byte each": one([3], [0, 2], "F4", bytes(2)),
    "six bits each": one([2], [0, 2], "F6_E2M3", bytes(2)),
    "a shape that overflows": one([HUGE, HUGE], [0, 4]),
    "a negative shape": one([-1], [0, 4]),
    "a shape of terabytes": one([10**12], [0, 4 * 10**12]),
    "a shape that is larger than its bytes": one([2], [0, 4]),
    "offsets that go back": one([1], [4, 0]),
    "offsets of 2^64-1": one([0], [2**64 - 1, 2**64 - 1], body=b""),
    "a hole": one([1], [4, 8], body=bytes(8)),
    "bytes that belong to nothing": one([1], [0, 4], body=bytes(400)),
    "bytes that belong to two": made(
        {n: {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]} for n in "ab"}, bytes(4)
    ),
    "200 dimensions": one([1] * 200, [0, 4]),
    "no bytes of 2^62 rows": one([0, HUGE], [0, 0], body=b""),
    "cut off": one([100], [0, 400], body=bytes(399)),
}
TYPES = {"BF16": 2, "F16": 2, "F64": 8, "I8": 1, "U16": 2, "I64": 8, "BOOL": 1, "C64": 8,
         "F8_E4M3": 1, "F8_E5M2": 1, "F8_E8M0": 1}  # fmt: skip


@pytest.mark.parametrize("name", HOSTILE)
def test_a_header_that_lies_is_one_line(tmp_path, name):
    path = tmp_path / "model.safetensors"
    path.write_bytes(HOSTILE[name])
    assert str(path) in outcome(lambda: tensor_files.read(path))


@pytest.mark.parametrize("name", TYPES)
def test_numbers_of_any_type_are_tensors_or_one_line(tmp_path, name):
    path = tmp_path / "model.safetensors"
    path.write_bytes(one([2], [0, 2 * TYPES[name]], name, bytes(2 * TYPES[name])))
    found = outcome(lambda: tensor_files.read(path))
    assert str(path) in found if isinstance(found, str) else found["a"].shape == (2,)
