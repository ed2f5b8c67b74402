"""JSON whose schema is the dataclasses themselves: unknown, missing, mistyped keys are errors naming the field."""

from __future__ import annotations

import dataclasses
import math
import types
import typing
from functools import cache
from typing import Any

from graphc.runtime.dimexpr import Expr, freeze
from graphc.runtime.errors import ArtifactError


@cache
def _hints(kind: type) -> dict[str, Any]:
    return typing.get_type_hints(kind)


def encode(value: Any) -> Any:
    """Plain JSON data for dataclasses, dictionaries, tuples and scalars; non-finite floats become texts."""
    if dataclasses.is_dataclass(value):
        return {one.name: encode(getattr(value, one.name)) for one in dataclasses.fields(value)}
    if isinstance(value, dict):
        return {key: encode(one) for key, one in value.items()}
    if isinstance(value, tuple | list):
        return [encode(one) for one in value]
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)  # JSON has no inf and nan
    return value


def decode(data: Any, kind: Any, where: str) -> Any:
    """The inverse of `encode`: `data` as `kind`, an annotation; `ArtifactError` naming `where` for anything else."""
    if dataclasses.is_dataclass(kind):
        return _object(data, typing.cast(type, kind), where)
    origin, args = typing.get_origin(kind), typing.get_args(kind)
    if kind == Expr:
        return freeze(data, where)
    if origin is tuple and isinstance(data, list):
        return tuple(decode(one, args[0], f"{where}[{i}]") for i, one in enumerate(data))
    if origin is dict and isinstance(data, dict):
        return {key: decode(one, args[1], f"{where}.{key}") for key, one in data.items()}
    if origin in (typing.Union, types.UnionType):
        return None if data is None else decode(data, args[0], where)
    if kind is float and isinstance(data, int | float | str) and not isinstance(data, bool):
        return _float(data, where)
    if isinstance(kind, type) and type(data) is kind:  # `type() is`: True is not an int here
        return data
    raise ArtifactError(f"{where}: expected {getattr(kind, '__name__', kind)}, found {type(data).__name__}")


def _float(data: float | str, where: str) -> float:
    if isinstance(data, str):
        if data not in ("inf", "-inf", "nan"):
            raise ArtifactError(f"{where}: expected a number")
        return float(data)
    if isinstance(data, float) and not math.isfinite(data):
        raise ArtifactError(f"{where}: a number too large for f64")
    return data


def _object(data: Any, kind: type, where: str) -> Any:
    if not isinstance(data, dict):
        raise ArtifactError(f"{where}: expected an object, found {type(data).__name__}")
    hints = _hints(kind)
    for key in data:
        if key not in hints:
            raise ArtifactError(f"{where}: unknown key `{key[:80]}`")
    for key in hints:
        if key not in data:
            raise ArtifactError(f"{where}: missing key `{key}`")
    return kind(**{key: decode(data[key], hint, f"{where}.{key}") for key, hint in hints.items()})
