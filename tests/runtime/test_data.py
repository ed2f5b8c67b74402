"""Readers of data files: right values, and a clean error with the place for everything that is wrong."""

from __future__ import annotations

import gzip
import io
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from graphc.runtime.data import read
from graphc.runtime.errors import DataError


@pytest.fixture
def put(tmp_path: Path) -> Callable[[str, bytes | str], str]:
    def write(name: str, content: bytes | str) -> str:
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return str(path)

    return write


Put = Callable[[str, "bytes | str"], str]


def npy(array: Any) -> bytes:
    out = io.BytesIO()
    np.save(out, array)
    return out.getvalue()


@pytest.mark.parametrize(
    "array",
    [
        np.arange(6, dtype=np.float32).reshape(2, 3),
        np.asfortranarray(np.arange(6.0).reshape(2, 3)),
        np.arange(4, dtype=">i4"),
        np.array(3.5),
        np.array([True, False]),
        np.zeros((0, 3), np.uint8),
        np.arange(24, dtype=np.int8).reshape(2, 3, 4),
    ],
)
def test_npy_and_npz(put: Put, array: Any) -> None:
    out = read(put("x.npy", npy(array)))
    assert np.array_equal(out, array) and out.dtype == array.dtype.newbyteorder("=") and out.flags.c_contiguous
    archive = io.BytesIO()
    np.savez_compressed(archive, a=array, b=np.ones(3))
    path = put("x.npz", archive.getvalue())
    assert np.array_equal(read(f"{path}:a"), array)
    with pytest.raises(DataError, match="it holds a, b"):
        read(path)
    with pytest.raises(DataError, match="no `c`"):
        read(f"{path}:c")


def header(text: str, body: bytes = b"") -> bytes:
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text.encode() + body


@pytest.mark.parametrize(
    "data",
    [
        header("{'descr': '|O', 'fortran_order': False, 'shape': (1,), }", b"cos\nsystem\n"),
        header("{'descr': '<f4', 'fortran_order': False, 'shape': (1000000000000,), }"),
        header("{'descr': '<f4', 'fortran_order': False, 'shape': (-1,), }"),
        header("{'descr': '<f4', 'fortran_order': False, 'shape': (1.5,), }"),
        header("{'descr': '<f4', 'fortran_order': False, 'shape': __import__('os').system('x'), }"),
        header("(" * 9000),
        header("{'descr': [('a', '<f4')], 'fortran_order': False, 'shape': (1,), }", bytes(4)),
        header("{'descr': '<c8', 'fortran_order': False, 'shape': (1,), }", bytes(8)),
        npy(np.ones(3))[:-1],
        npy(np.ones(3)) + b"\0",
        b"\x93NUMPY\x09\x00" + bytes(100),
        b"\x93NUMPY\x02\x00\xff\xff\xff\xff",
        header("{'descr': '|b1', 'fortran_order': False, 'shape': (1,), }", b"\x07"),
        b"",
        b"rubbish",
    ],
)
def test_hostile_npy(put: Put, data: bytes) -> None:
    path = put("x.npy", data)
    with pytest.raises(DataError, match=r"x\.npy"):
        read(path)
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as out:
        out.writestr("../../a.npy", data)
    with pytest.raises(DataError, match=r"y\.npz"):
        read(put("y.npz", archive.getvalue()) + ":../../a")


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_hostile_npz(put: Put) -> None:
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as out:
        out.writestr("a.npy", npy(np.ones(1000)))
        out.writestr("a.npy", npy(np.zeros(1000)))
    whole = archive.getvalue()
    with pytest.raises(DataError, match="same name"):
        read(put("twice.npz", whole) + ":a")
    for size in range(0, len(whole), 29):
        with pytest.raises(DataError):
            read(put("cut.npz", whole[:size]) + ":a")
    single = io.BytesIO()
    np.savez(single, a=np.arange(100.0))
    damaged = bytearray(single.getvalue())
    damaged[300] ^= 1  # inside the data: the CRC shows it
    with pytest.raises(DataError):
        read(put("crc.npz", bytes(damaged)) + ":a")


def idx(array: Any, code: int) -> bytes:
    return bytes([0, 0, code, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape) + array.tobytes()


def test_idx(put: Put) -> None:
    images = np.arange(2 * 3 * 4, dtype=np.uint8).reshape(2, 3, 4)
    assert np.array_equal(read(put("images-idx3-ubyte", idx(images, 8))), images)
    assert np.array_equal(read(put("images-idx3-ubyte.gz", gzip.compress(idx(images, 8)))), images)
    floats = np.array([1.5, -2.0], ">f4")
    out = read(put("f", idx(floats, 0x0D)))
    assert out.dtype == np.float32 and np.array_equal(out, floats)
    assert read(put("labels.gz", gzip.compress(idx(images[0, 0], 8))), "i32").dtype == np.int32
    long = np.zeros((500, 28, 28), np.uint8)
    assert read(put("long.gz", gzip.compress(idx(long, 8)))).shape == long.shape


@pytest.mark.parametrize(
    "data",
    [
        b"\0\0\x08",
        b"\0\0\x07\x01" + struct.pack(">I", 1) + b"a",
        b"\0\0\x08\x00",
        b"\0\0\x08\x01" + struct.pack(">I", 5) + b"abcd",
        b"\0\0\x08\x01" + struct.pack(">I", 3) + b"abcd",
        b"\0\0\x08\x01" + struct.pack("<I", 4) + b"abcd",
        b"\0\0\x08\x03" + struct.pack(">3I", 2**32 - 1, 2**32 - 1, 2**32 - 1),
        b"\0\0\x08\x02" + struct.pack(">2I", 2**31, 2**31) + b"abcd",
    ],
)
def test_hostile_idx(put: Put, data: bytes) -> None:
    for name, content in (("x", data), ("x.gz", gzip.compress(data))):
        with pytest.raises(DataError):
            read(put(name, content))


def test_hostile_gzip(put: Put) -> None:
    good = gzip.compress(idx(np.arange(100, dtype=np.uint8), 8))
    for size in range(2, len(good)):
        with pytest.raises(DataError):
            read(put("x.gz", good[:size]))
    with pytest.raises(DataError, match="after the end"):
        read(put("x.gz", good + b"more"))
    bomb = gzip.compress(b"\0\0\x08\x01" + struct.pack(">I", 10) + bytes(50_000_000))
    with pytest.raises(DataError):
        read(put("x.gz", bomb))


def test_csv(put: Put) -> None:
    path = put("t.csv", "\ufeffa,b,label\r\n1.5,2,0\r\n-3e1, 4 ,2\r\n\r\n")
    assert np.array_equal(read(path), [[1.5, 2, 0], [-30, 4, 2]])
    label = read(f"{path}:label")
    assert label.dtype == np.int32 and np.array_equal(label, [0, 2])
    both = read(f"{path}:b,a")
    assert both.dtype == np.float32 and np.array_equal(both, [[2, 1.5], [4, -30]])
    assert read(f"{path}:b", "f64").dtype == np.float64
    bare = put("bare.csv", "1,2\n3,4")
    assert np.array_equal(read(f"{bare}:2"), [2, 4])
    assert np.array_equal(read(put("q.csv", '"x, y",z\n"1",2\n') + ":z"), [2])
    with pytest.raises(DataError, match="no column `c`"):
        read(f"{path}:c")
    with pytest.raises(DataError, match="decimals do not fit int32"):
        read(f"{path}:a", "i32")


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("a,b\n1,2\n3\n", ":3:1: 1 cells"),
        ("a,b\n1,2\n3,4,5\n", ":3:1: 3 cells"),
        ("a,b\n1,\n", ":2:3: the cell is empty"),
        ("a,b\n1,x\n", ":2:3: `x`"),
        ("a\n1\n\n2\n", ":3:1: the cell is empty"),
        ("a,b\n1,1_000\n", ":2:3"),
        ("a,b\n1,0x10\n", ":2:3"),
        ("a,b\n1,nan\n", ":2:3"),
        ("a,b\n1,-inf\n", ":2:3"),
        ("a,b\n12,٣\n", ":2:4"),
        ("a,b\n1,1e999\n", ":2: column `b`"),
        ("a,b\n1,2,5\n", ":2:1: 3 cells"),
        ('a,b\n1,"2\n', ":2:1"),
        ("a,b\n1," + "1" * 10_000_000 + "\n", ":2:3"),
        ("a\n\0\n", ":2:1: a NUL"),
        ("a,b\n", "no rows"),
        ("", "empty"),
        ("a,a\n1,2\n", "more than one column `a`"),
    ],
)
def test_bad_csv(put: Put, text: str, place: str) -> None:
    path = put("t.csv", text)
    with pytest.raises(DataError) as error:
        read(f"{path}:a" if "more than" in place else path)
    assert place in str(error.value)


def test_csv_encodings(put: Put) -> None:
    with pytest.raises(DataError, match="UTF-16"):
        read(put("t.csv", "a\n1\n".encode("utf-16")))
    with pytest.raises(DataError, match=":2:3: not UTF-8"):
        read(put("t.csv", b"a,b\n1,\xff\n"))


def test_exact_conversion(put: Put) -> None:
    path = put("x.npy", npy(np.array([1.0, 0.1])))
    with pytest.raises(DataError, match="cannot represent"):
        read(path, "f32")
    with pytest.raises(DataError, match="holds float64"):
        read(path, "i32")
    path = put("y.npy", npy(np.array([-1, 300])))
    assert read(path, "i32").dtype == np.int32
    for narrow in ("u8", "i8", "bool"):
        with pytest.raises(DataError):
            read(path, narrow)


def test_safetensors(put: Put) -> None:
    from safetensors.numpy import save

    path = put("x.safetensors", save({"a": np.ones(3, np.float32), "b": np.zeros(2, np.int64)}))
    assert np.array_equal(read(f"{path}:b"), [0, 0])
    with pytest.raises(DataError, match="say which"):
        read(path)
    with pytest.raises(DataError):
        read(put("y.safetensors", b"rubbish") + ":a")


def test_unusual_paths(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "none", "a\0.npy", "x" * 5000):
        with pytest.raises(DataError):
            read(path)
