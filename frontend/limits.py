"""What a source file may ask for. Everything beyond is refused by an error that names the limit."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Limits:
    """The limits of the frontend; each can be raised by the caller of the driver."""

    source_bytes: int = 1 << 20
    line_tokens: int = 400_000  # tokens of one logical line
    nesting: int = 200  # brackets, blocks, unary operators
    identifier: int = 200  # characters of a name
    number: int = 100  # characters of a number
    text: int = 4_000  # characters of a string
    errors: int = 100  # diagnostics of one file
    nodes: int = 200_000  # graph nodes after every block is expanded
    instances: int = 20_000  # block instances
    rank: int = 8
    dimension: int = (1 << 31) - 1
    elements: int = 1 << 47  # of one tensor
    dimension_words: int = 500  # numbers and symbols of one dimension, written out


DEFAULT_LIMITS = Limits()
