"""Bytes -> text. A module of its own, as who finds a compiled model in the cache needs no parser."""

from __future__ import annotations

from graphc.diagnostics import Diagnostic, Label
from graphc.frontend.limits import DEFAULT_LIMITS, Limits
from graphc.source import Source


def decode(name: str, data: bytes, limits: Limits = DEFAULT_LIMITS) -> tuple[Source, list[Diagnostic]]:
    """The text of a file, or an error that says which byte is not UTF-8."""
    if len(data) > limits.source_bytes:
        return too_large(Source(name, ""), len(data), limits)
    try:
        return Source(name, data.decode("utf-8-sig")), []
    except UnicodeDecodeError as error:
        before = data[: error.start].decode("utf-8-sig", "replace")
        source = Source(name, before + "\N{REPLACEMENT CHARACTER}")
        span = source.span(len(before), len(before) + 1)
        help = "save the file as UTF-8"
        if data[:2] in (b"\xff\xfe", b"\xfe\xff"):
            help = "the file looks like UTF-16: " + help
        title = f"byte 0x{data[error.start]:02x} is not UTF-8"
        return source, [Diagnostic("GC0001", title, (Label(span),), help)]


def too_large(source: Source, size: int, limits: Limits) -> tuple[Source, list[Diagnostic]]:
    """The error for a file of more bytes than the limit."""
    title = f"a file of {size} bytes; the limit is {limits.source_bytes}"
    return source, [Diagnostic("GC0002", title, (Label(source.span(0, 0)),))]
