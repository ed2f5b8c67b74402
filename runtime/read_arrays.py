"""NPY, NPZ and IDX: headers parsed by hand, sizes compared with the bytes present before anything is allocated."""

from __future__ import annotations

import io
import math
import re
import struct
import zipfile
import zlib
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from graphc.runtime.errors import DataError

MAX_UNPACKED = 1 << 30  # bytes that a compressed file may grow to
MAX_MEMBERS = 10_000
_RATIO = 1032  # deflate cannot do better
_NPY_HEADER = re.compile(
    r"\{'descr': '([<>|=])([biuf])(\d{1,2})', 'fortran_order': (True|False), "
    r"'shape': \(((?:\d{1,18}, ?)*(?:\d{1,18})?)\), ?\}\s*"
)
_IDX_TYPES = {0x08: ">u1", 0x09: ">i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}


def parse_npy(data: bytes, where: str) -> NDArray[Any]:
    """The array of a .npy file: numbers and truth values only, no pickled objects, no structures."""
    if len(data) < 10 or data[:6] != b"\x93NUMPY" or data[6] not in (1, 2, 3):
        raise DataError(f"{where}: not a .npy file of version 1 to 3")
    width = 2 if data[6] == 1 else 4
    start = 8 + width
    length = int.from_bytes(data[8:start], "little")
    if len(data) < start + length or length > 1 << 16:
        raise DataError(f"{where}: the header claims {length} bytes, the file has {max(0, len(data) - start)}")
    match = _NPY_HEADER.fullmatch(data[start : start + length].decode("latin-1"))
    if match is None:
        raise DataError(f"{where}: the header is not that of a plain array of numbers (no objects, no structures)")
    order, kind, size, fortran, shape_text = match.groups()
    if (kind, int(size)) not in {("b", 1), *(("i", n) for n in (1, 2, 4, 8)), *(("u", n) for n in (1, 2, 4, 8)),
                                 *(("f", n) for n in (2, 4, 8))}:  # fmt: skip
        raise DataError(f"{where}: dtype {kind}{size} is not read")
    shape = tuple(int(part) for part in shape_text.replace(" ", "").split(",") if part)
    dtype = np.dtype(f"{order}{kind}{size}")
    array = _array(data, start + length, dtype, shape, where, "F" if fortran == "True" else "C")
    if kind == "b" and (array.view(np.uint8) > 1).any():
        raise DataError(f"{where}: bytes that are not truth values")
    return array


def _array(
    data: bytes, start: int, dtype: np.dtype[Any], shape: tuple[int, ...], where: str, order: str = "C"
) -> NDArray[Any]:
    """The bytes from `start` to the end as an array in native byte order; they must be exactly as many as it needs."""
    if len(shape) > 32:
        raise DataError(f"{where}: rank {len(shape)} exceeds 32")
    need, have = math.prod(shape) * dtype.itemsize, len(data) - start
    if need != have:
        raise DataError(f"{where}: shape {shape} of {dtype.name} needs {need} bytes, {have} are there")
    flat = np.frombuffer(data, dtype, offset=start)
    shaped = flat.reshape(shape, order="F" if order == "F" else "C")
    return np.ascontiguousarray(shaped.astype(dtype.newbyteorder("="))).reshape(shape)


def parse_npz(data: bytes, where: str, key: str | None) -> NDArray[Any]:
    """One array of a .npz archive, by its name without `.npy`; the only one if `key` is None."""
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            return _member(archive, where, key)
    except DataError:
        raise
    except Exception as error:  # zipfile raises half a dozen kinds for damaged archives
        raise DataError(f"{where}: not a readable .npz archive ({error})") from None


def _member(archive: zipfile.ZipFile, where: str, key: str | None) -> NDArray[Any]:
    infos = archive.infolist()
    names = [info.filename for info in infos]
    if len(infos) > MAX_MEMBERS:
        raise DataError(f"{where}: {len(infos)} members exceed the limit of {MAX_MEMBERS}")
    if len(set(names)) != len(names):
        raise DataError(f"{where}: two members have the same name")
    arrays = [name.removesuffix(".npy") for name in names]
    wanted = arrays[0] if key is None and len(arrays) == 1 else key
    if wanted not in arrays:
        what = "say which array" if key is None else f"there is no `{key[:80]}`"
        raise DataError(f"{where}: {what}; it holds {', '.join(name[:40] for name in arrays[:20])}")
    info = infos[arrays.index(wanted)]
    place = f"{where}:{wanted}"
    if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED) or info.flag_bits & 1:
        raise DataError(f"{place}: encrypted, or compressed by a method other than deflate")
    if info.file_size > min(MAX_UNPACKED, info.compress_size * _RATIO + 64):
        raise DataError(f"{place}: {info.file_size} bytes exceed what is unpacked here")
    with archive.open(info) as stream:
        return parse_npy(_drain(stream, info.file_size), place)


def _drain(stream: IO[bytes], limit: int) -> bytes:
    """At most `limit` bytes, a piece at a time: a wrong declared size costs no memory."""
    pieces, left = [], limit
    while left > 0 and (piece := stream.read(min(left, 1 << 20))):
        pieces.append(piece)
        left -= len(piece)
    return b"".join(pieces)


def parse_idx(data: bytes, where: str) -> NDArray[Any]:
    """IDX: 0, 0, type, rank, big-endian u32 sizes, big-endian data (Y. LeCun, the MNIST database)."""
    dtype, shape, start = _idx_header(data, where)
    return _array(data, start, dtype, shape, where)


def _idx_header(data: bytes, where: str) -> tuple[np.dtype[Any], tuple[int, ...], int]:
    if len(data) < 4 or data[:2] != b"\0\0" or data[2] not in _IDX_TYPES or not 1 <= data[3] <= 8:
        raise DataError(f"{where}: not an IDX file (bad magic, type or rank)")
    start = 4 + 4 * data[3]
    if len(data) < start:
        raise DataError(f"{where}: the IDX header is cut short")
    return np.dtype(_IDX_TYPES[data[2]]), struct.unpack(f">{data[3]}I", data[4:start]), start


def gunzip_idx(data: bytes, where: str) -> NDArray[Any]:
    """A gzipped IDX file; no more is unpacked than its header says, and that only if it is possible."""
    stream = zlib.decompressobj(wbits=31)
    try:
        head = stream.decompress(data, 64)
        dtype, shape, start = _idx_header(head, where)
        need = start + math.prod(shape) * dtype.itemsize
        if need > min(MAX_UNPACKED, len(data) * _RATIO + 64):
            raise DataError(
                f"{where}: shape {shape} needs {need} bytes, more than this file can hold or is unpacked here"
            )
        body = head + (stream.decompress(stream.unconsumed_tail, need - len(head)) if need > len(head) else b"")
        if not stream.eof:  # the trailer with the checksum may be left to read
            body += stream.decompress(stream.unconsumed_tail, 1)
    except zlib.error as error:
        raise DataError(f"{where}: damaged gzip data ({error})") from None
    if len(body) == need and not stream.eof:
        raise DataError(f"{where}: the gzip data is cut short")
    if stream.unused_data:
        raise DataError(f"{where}: bytes after the end of the gzip data")
    return parse_idx(body, where)
