"""The safetensors format against the reference implementation, and what is refused."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from graphc.runtime import safetensors
from graphc.runtime.errors import WeightsError

DTYPES = ("float64", "float32", "int64", "int32", "int8", "uint8", "bool")
TENSORS = {
    f"{dtype}{index}": (np.arange(np.prod(shape, dtype=int)) % 2).astype(dtype).reshape(shape)
    for dtype in DTYPES
    for index, shape in enumerate([(), (0,), (3,), (2, 0, 3), (2, 3, 5)])
}


def encoded(tensors: Any, metadata: Any) -> bytes:
    return b"".join(safetensors.encode(tensors, metadata))


def same(found: Any, expected: Any) -> bool:
    return found.keys() == expected.keys() and all(
        found[name].dtype == expected[name].dtype and np.array_equal(found[name], expected[name]) for name in expected
    )


def test_the_reference_implementation_reads_what_is_written() -> None:
    reference = pytest.importorskip("safetensors.numpy")
    assert same(reference.load(encoded(TENSORS, {"a": "b"})), TENSORS)
    strided = {"x": np.arange(12.0).reshape(3, 4).T[::2], "y": np.arange(5, dtype=">i4")}
    assert same(reference.load(encoded(strided, {})), {"x": strided["x"], "y": np.arange(5, dtype="<i4")})


def test_what_the_reference_implementation_writes_is_read() -> None:
    reference = pytest.importorskip("safetensors.numpy")
    tensors, metadata = safetensors.decode(reference.save(TENSORS, {"é": "ü"}), "x")
    assert same(tensors, TENSORS) and metadata == {"é": "ü"}


def test_the_same_content_gives_the_same_bytes() -> None:
    backwards = dict(reversed(TENSORS.items()))
    whole = encoded(TENSORS, {"a": "b"})
    assert encoded(backwards, {"a": "b"}) == whole
    tensors, metadata = safetensors.decode(whole, "x")
    assert same(tensors, TENSORS) and metadata == {"a": "b"}


def file(header: Any, body: bytes = b"") -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + body


def entry(shape: Any = (2,), offsets: Any = (0, 8), dtype: Any = "F32") -> dict[str, Any]:
    return {"dtype": dtype, "shape": shape, "data_offsets": offsets}


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "header length"),
        (b"\xff" * 8, "header length"),
        (b"\xff" * 7 + b"\x7f" + b"{}", "header length"),
        (file(b"{"), "not valid JSON"),
        (file(b"[]"), "expected an object"),
        (file(b"\xff\xfe"), "not valid JSON"),
        (file(b"[" * 100_000), "nested too deeply"),
        (file(b'{"a":' + b"1" * 1_000_000 + b"}"), "not valid JSON"),
        (file(b'{"a":NaN}'), "NaN is not JSON"),
        (file(b'{"a":1,"a":2}'), "given twice"),
        (file({"__metadata__": []}), "metadata"),
        (file({"__metadata__": {"a": 1}}), "metadata"),
        (file({"a": []}), "expected dtype, shape and data_offsets"),
        (file({"a": {**entry(), "more": 1}}, bytes(8)), "expected dtype, shape and data_offsets"),
        (file({"a": entry(dtype="BF16")}, bytes(8)), "dtype BF16"),
        (file({"a": entry(dtype=["F32"])}, bytes(8)), "dtype"),
        (file({"a": entry(shape=[-2])}, bytes(8)), "shape"),
        (file({"a": entry(shape=[2.0])}, bytes(8)), "shape"),
        (file({"a": entry(shape=[True, 2])}, bytes(8)), "shape"),
        (file({"a": entry(shape=[1] * 33, offsets=[0, 4])}, bytes(4)), "shape"),
        (file({"a": entry(shape=[1 << 62, 4, 1 << 62], offsets=[0, 0])}), "bytes are needed"),
        (file({"a": entry(shape=[1 << 62], offsets=[0, 1 << 62])}), "bytes are needed"),
        (file({"a": entry(offsets=[8, 0])}, bytes(8)), "bytes are needed"),
        (file({"a": entry(offsets=[4, 12])}, bytes(12)), "a gap or an overlap"),
        (file({"a": entry(), "b": entry()}, bytes(8)), "a gap or an overlap"),
        (file({"a": entry(), "b": entry(offsets=[4, 12])}, bytes(12)), "a gap or an overlap"),
        (file({"a": entry()}, bytes(9)), "the tensors end at byte 8"),
        (file({"a": entry(shape=[2], offsets=[0, 2], dtype="BOOL")}, b"\x01\x02"), "truth values"),
    ],
)  # fmt: skip
def test_refused(data: bytes, said: str) -> None:
    with pytest.raises(WeightsError, match=said) as error:
        safetensors.decode(data, "x.safetensors")
    assert str(error.value).startswith("x.safetensors: ")


def test_a_reserved_name() -> None:
    with pytest.raises(WeightsError, match="keeps this name"):
        safetensors.encode({"__metadata__": np.zeros(3)}, {})
