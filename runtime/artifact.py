"""The artifact: a model's signature and linked code, for one machine or several, in memory and as a `.gca` file.

    offset  bytes  field
         0      8  magic  89 'G' 'C' 'A' 0D 0A 1A 0A    (damage by text-mode copying shows)
         8      4  format version, u32
        12      1  byte order of the code: 1 little, 2 big
        13      1  pointer size of the code in bits
        14      2  zero
        16      8  H: length of the header, u64
        24      8  C: length of the code, u64
        32      H  header as canonical JSON (sorted keys, no spaces, ASCII): a list with, for each build, its signature
                   and the length of its code
      32+H      C  the code of the builds, one after the other: ELF shared objects (graphc/linking)
    32+H+C     32  SHA-256 of all bytes before it

Numbers are little-endian. No time, path or address is in it: the same model gives the same bytes.
An artifact is a program: its code runs when the model is used. Load only those you trust, like a shared library.
"""

from __future__ import annotations

import hashlib
import json
import os
import stat
import struct
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

from graphc.runtime.cpu import mismatch
from graphc.runtime.durable import write_durably
from graphc.runtime.errors import ArtifactError
from graphc.runtime.signature import Signature, Target

MAGIC = b"\x89GCA\r\n\x1a\n"
FORMAT = 3
MAX_BUILDS = 16
MAX_FILE = 1 << 31
_HEAD = struct.Struct("<8sIBBHQQ")
_DIGEST = 32
_BYTE_ORDER = {"little": 1, "big": 2}


class Build(NamedTuple):
    """A model compiled for one target: `image` is a shared object as `graphc.linking` makes it."""

    signature: Signature
    image: bytes


@dataclass(frozen=True)
class Artifact:
    """What the compiler hands over: builds of one model, which differ in their targets and what follows from these."""

    builds: tuple[Build, ...]

    def __post_init__(self) -> None:
        if not 1 <= len(self.builds) <= MAX_BUILDS:
            raise ArtifactError(f"an artifact has 1 to {MAX_BUILDS} builds, not {len(self.builds)}")
        common = [_without_target(build.signature) for build in self.builds] if len(self.builds) > 1 else []
        if any(other != common[0] for other in common):
            raise ArtifactError("the builds are not of the same model")

    @staticmethod
    def of(signature: Signature, image: bytes) -> Artifact:
        """An artifact with one build."""
        return Artifact((Build(signature, image),))

    def runnable(self) -> Build:
        """The build that makes most of this machine; `ArtifactError` saying what is missing if it can run none."""
        faults = [mismatch(build.signature.target) for build in self.builds]
        fitting = [build for build, fault in zip(self.builds, faults, strict=True) if fault is None]
        if fitting:
            return max(fitting, key=lambda build: len(build.signature.target.features))
        if len(faults) == 1:
            raise ArtifactError(str(faults[0]))
        lines = (f"  {build.signature.target.name}: {fault}" for build, fault in zip(self.builds, faults, strict=True))
        raise ArtifactError("this machine can run none of the builds:\n" + "\n".join(lines))

    def to_bytes(self) -> bytes:
        """The `.gca` file."""
        header = canonical([{"signature": one.signature.to_json(), "size": len(one.image)} for one in self.builds])
        code = b"".join(build.image for build in self.builds)
        order, pointer = _BYTE_ORDER[sys.byteorder], struct.calcsize("P") * 8
        body = _HEAD.pack(MAGIC, FORMAT, order, pointer, 0, len(header), len(code)) + header + code
        return body + hashlib.sha256(body).digest()

    @staticmethod
    def from_bytes(data: bytes, name: str = "artifact") -> Artifact:
        """Parse a `.gca` file; `ArtifactError` starting with `name` and naming the field that is wrong."""
        header_size = _check_head(data, name)
        end = len(data) - _DIGEST
        if hashlib.sha256(memoryview(data)[:end]).digest() != data[end:]:
            raise ArtifactError(f"{name}: checksum: the file is damaged")
        start = _HEAD.size + header_size
        header = data[_HEAD.size : start]
        try:
            content = parse_json(header)
            if canonical(content) != header:
                raise ArtifactError("not in canonical form")
            return Artifact(tuple(_builds(content, data[start:end])))
        except ArtifactError as error:
            raise ArtifactError(f"{name}: header: {error}") from None

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the `.gca` file, whole or not at all."""
        write_durably(path, self.to_bytes())

    @staticmethod
    def load(path: str | os.PathLike[str]) -> Artifact:
        """Read a `.gca` file; `ArtifactError` if it is damaged or not for this runtime."""
        return Artifact.from_bytes(read_regular_file(path, MAX_FILE), str(Path(path)))


def _without_target(signature: Signature) -> Signature:
    """What all builds have in common: all but the target, its use of threads, and the scratch memory of its code."""
    entries = {name: entry._replace(arena=0, private=0, parallel=False) for name, entry in signature.entries.items()}
    return replace(signature, target=Target("", ""), entries=entries)


def _builds(header: Any, code: bytes) -> Iterator[Build]:
    """The builds that a header lists, which must use up the code."""
    if not isinstance(header, list):
        raise ArtifactError("expected a list of builds")
    start = 0
    for number, one in enumerate(header):
        if not isinstance(one, dict) or sorted(one) != ["signature", "size"]:
            raise ArtifactError(f"build {number}: expected the keys `signature` and `size`")
        size = one["size"]
        if type(size) is not int or not 0 <= size <= len(code) - start:
            raise ArtifactError(f"build {number}: size: {len(code) - start} bytes of code are left")
        yield Build(Signature.from_json(one["signature"]), code[start : start + size])
        start += size
    if start != len(code):
        raise ArtifactError(f"{len(code) - start} bytes of code belong to no build")


def _check_head(data: bytes, name: str) -> int:
    """The header's length, after the fixed fields have been checked against this machine and the bytes present."""
    if len(data) < _HEAD.size + _DIGEST or data[:8] != MAGIC:
        kind = "empty" if not data else "not a graphc artifact" if data[:4] != MAGIC[:4] else "damaged or cut short"
        raise ArtifactError(f"{name}: magic: the file is {kind}")
    _, version, order, pointer, zero, header_size, code_size = _HEAD.unpack_from(data)
    if version != FORMAT:
        age = "a newer" if version > FORMAT else "an older"
        raise ArtifactError(f"{name}: format version: {version} is of {age} graphc; this one reads {FORMAT}")
    if order != _BYTE_ORDER[sys.byteorder]:
        raise ArtifactError(f"{name}: byte order: {order} is not this machine's ({sys.byteorder}-endian)")
    if pointer != struct.calcsize("P") * 8:
        raise ArtifactError(f"{name}: pointer size: {pointer} bits, this Python has {struct.calcsize('P') * 8}")
    if zero != 0:
        raise ArtifactError(f"{name}: reserved field: must be zero")
    present = len(data) - _HEAD.size - _DIGEST
    if header_size + code_size != present:  # Python integers: the sum cannot wrap
        what = "is cut short" if header_size + code_size > present else "has bytes after its end"
        raise ArtifactError(f"{name}: lengths: header {header_size} + code {code_size}, but {present} bytes: it {what}")
    return int(header_size)


def canonical(data: Any) -> bytes:
    """JSON with sorted keys, no spaces, ASCII: one text for one value."""
    return json.dumps(data, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False).encode("ascii")


def parse_json(text: bytes) -> Any:
    """Strict JSON: duplicate keys, NaN, absurd nesting or numbers are an `ArtifactError`."""

    def no_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        out = dict(pairs)
        if len(out) < len(pairs):
            raise ArtifactError("a key is given twice")
        return out

    def no_constant(word: str) -> Any:
        raise ArtifactError(f"{word} is not JSON")

    try:
        return json.loads(text.decode("utf-8"), object_pairs_hook=no_duplicates, parse_constant=no_constant)
    except RecursionError:
        raise ArtifactError("nested too deeply") from None
    except ArtifactError:
        raise
    except ValueError as error:  # JSONDecodeError, UnicodeDecodeError, numbers of thousands of digits
        raise ArtifactError(f"not valid JSON ({error})") from None


def read_regular_file(path: str | os.PathLike[str], limit: int, error: type[Exception] = ArtifactError) -> bytes:
    """All bytes of a regular file of at most `limit` bytes; `error` for a folder, FIFO, device, or unreadable file.

    Read, not mapped: a file cut short by another process must not end in SIGBUS.
    """
    name = str(path)
    if "\0" in name:
        raise error(f"{name!r}: a path cannot hold a NUL")
    flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)
    try:
        descriptor = os.open(path, flags)  # O_NONBLOCK: opening a FIFO must not wait for a writer
    except OSError as cause:
        raise error(f"{name}: {cause.strerror or cause}") from None
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            kind = "a folder" if stat.S_ISDIR(status.st_mode) else "a pipe or device"
            raise error(f"{name}: {kind}, not a regular file")
        if status.st_size > limit:
            raise error(f"{name}: {status.st_size} bytes exceed the limit of {limit}")
        with os.fdopen(descriptor, "rb", closefd=False) as file:
            data = file.read(status.st_size + 1)
    except OSError as cause:
        raise error(f"{name}: {cause.strerror or cause}") from None
    finally:
        os.close(descriptor)
    if len(data) != status.st_size:
        raise error(f"{name}: the file changed while it was read")
    return data
