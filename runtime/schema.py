"""JSON whose schema is the dataclasses or named tuples themselves.

Unknown, missing and mistyped keys are errors that name the field.
"""

from __future__ import annotations

import dataclasses
import math
import types
import typing
from collections.abc import Callable
from functools import cache
from typing import Any

from graphc.runtime.dimexpr import Expr, freeze
from graphc.runtime.errors import ArtifactError

Decoder = Callable[[Any], Any]


class _Fault(Exception):
    """What is wrong, and where below the value being decoded: the path grows on the way out."""

    def __init__(self, what: str, path: str = "") -> None:
        super().__init__(what)
        self.what, self.path = what, path


def encode(value: Any) -> Any:
    """Plain JSON data for dataclasses, tuples (named or not), dictionaries, scalars; non-finite floats become texts."""
    if dataclasses.is_dataclass(value):
        return {one.name: encode(getattr(value, one.name)) for one in dataclasses.fields(value)}
    if _is_named_tuple(value):
        return {name: encode(one) for name, one in zip(value._fields, value, strict=True)}
    if isinstance(value, dict):
        return {key: encode(one) for key, one in value.items()}
    if isinstance(value, tuple | list):
        return [encode(one) for one in value]
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)  # JSON has no inf and nan
    return value


def _is_named_tuple(value: Any) -> bool:
    """A class made by `typing.NamedTuple`, or a value of one."""
    return hasattr(value, "_fields")


def decode(data: Any, kind: Any, where: str) -> Any:
    """The inverse of `encode`: `data` as `kind`, an annotation; `ArtifactError` naming `where` for anything else."""
    try:
        return _decoder(kind)(data)
    except _Fault as fault:
        raise ArtifactError(f"{where}{fault.path}: {fault.what}") from None


@cache
def _decoder(kind: Any) -> Decoder:
    """The function that decodes an annotation, put together once: headers have thousands of values."""
    origin, args = typing.get_origin(kind), typing.get_args(kind)
    if dataclasses.is_dataclass(kind) or _is_named_tuple(kind):
        return _object(typing.cast(type, kind))
    if kind == Expr:
        return _expression
    if origin is tuple:
        return _sequence(_decoder(args[0]))
    if origin is dict:
        return _mapping(_decoder(args[1]))
    if origin in (typing.Union, types.UnionType):
        present = _decoder(args[0])
        return lambda data: None if data is None else present(data)
    return _float if kind is float else _scalar(kind)


def _wrong_kind(expected: str, data: Any) -> _Fault:
    return _Fault(f"expected {expected}, found {type(data).__name__}")


def _scalar(kind: type) -> Decoder:
    def decode_scalar(data: Any) -> Any:
        if type(data) is not kind:  # `type() is`: True is not an int here
            raise _wrong_kind(kind.__name__, data)
        return data

    return decode_scalar


def _expression(data: Any) -> Expr:
    try:
        return freeze(data)
    except ArtifactError as error:
        raise _Fault(str(error).partition(": ")[2]) from None


def _sequence(element: Decoder) -> Decoder:
    def decode_sequence(data: Any) -> tuple[Any, ...]:
        if type(data) is not list:
            raise _wrong_kind("list", data)
        out: list[Any] = []
        try:
            for one in data:
                out.append(element(one))  # noqa: PERF401  # its length is the index of the one that is wrong
        except _Fault as fault:
            raise _Fault(fault.what, f"[{len(out)}]{fault.path}") from None
        return tuple(out)

    return decode_sequence


def _mapping(element: Decoder) -> Decoder:
    def decode_mapping(data: Any) -> dict[str, Any]:
        if type(data) is not dict:
            raise _wrong_kind("object", data)
        return {key: _member(element, one, key) for key, one in data.items()}

    return decode_mapping


def _member(element: Decoder, data: Any, key: str) -> Any:
    try:
        return element(data)
    except _Fault as fault:
        raise _Fault(fault.what, f".{key}{fault.path}") from None


def _float(data: Any) -> float:
    if type(data) is str:
        if data not in ("inf", "-inf", "nan"):
            raise _Fault("expected a number")
        return float(data)
    if type(data) not in (int, float):
        raise _wrong_kind("float", data)
    if type(data) is float and not math.isfinite(data):
        raise _Fault("a number too large for f64")
    return typing.cast(float, data)


def _object(kind: type) -> Decoder:
    decoders: dict[str, Decoder] = {}  # filled at the first use: the class may not be complete yet

    def decode_object(data: Any) -> Any:
        if type(data) is not dict:
            raise _wrong_kind("an object", data)
        if not decoders:
            decoders.update((name, _decoder(hint)) for name, hint in typing.get_type_hints(kind).items())
        if data.keys() != decoders.keys():
            for key in data:
                if key not in decoders:
                    raise _Fault(f"unknown key `{key[:80]}`")
            raise _Fault(f"missing key `{next(key for key in decoders if key not in data)}`")
        return kind(**{key: _member(decode_one, data[key], key) for key, decode_one in decoders.items()})

    return decode_object
