"""The mappings a model shows of its variables: writable views of arrays, and hyper-parameters as numbers."""

from __future__ import annotations

import math
import numbers
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from graphc.runtime.buffers import as_input
from graphc.runtime.errors import InputShapeError, InputTypeError, OptionError, UnknownNameError, shown
from graphc.runtime.signature import Leaf


class Variables(Mapping[str, NDArray[Any]]):
    """Name -> writable view of the model's own memory. Assignment copies into it, after checking dtype and shape."""

    def __init__(self, kind: str, leaves: tuple[Leaf, ...], arrays: Mapping[str, NDArray[Any]]) -> None:
        self._kind = kind
        self._leaves = {leaf.name: leaf for leaf in leaves}
        self._arrays = {leaf.name: arrays[leaf.name] for leaf in leaves}

    def __getitem__(self, name: str) -> NDArray[Any]:
        return self._arrays[name] if name in self._arrays else self._unknown(name)

    def __setitem__(self, name: str, value: Any) -> None:
        """Copy `value` in; `InputTypeError` or `InputShapeError` if it is not of the variable's dtype and shape."""
        target = self[name]
        array = as_input(value, self._leaves[name])
        if array.shape != target.shape:
            raise InputShapeError(f"{self._kind} `{name}` has shape {target.shape}, not {array.shape}")
        target[...] = array

    def __iter__(self) -> Iterator[str]:
        return iter(self._arrays)

    def __len__(self) -> int:
        return len(self._arrays)

    def __repr__(self) -> str:
        lines = (f"  {name}: {leaf.dtype}{list(leaf.shape)}" for name, leaf in self._leaves.items())
        return "\n".join([f"{len(self)} {self._kind}s", *lines])

    def _unknown(self, name: object) -> Any:
        raise unknown_name(self._kind, name, list(self._arrays))


class Hypers(Mapping[str, float]):
    """Name -> run-time scalar; assignment takes effect at the next step."""

    def __init__(self, leaves: tuple[Leaf, ...], arrays: Mapping[str, NDArray[Any]]) -> None:
        self._arrays = {leaf.name: arrays[leaf.name] for leaf in leaves}

    def __getitem__(self, name: str) -> Any:
        if name not in self._arrays:
            raise unknown_name("hyper", name, list(self._arrays))
        return self._arrays[name].item()

    def __setitem__(self, name: str, value: float) -> None:
        """`InputTypeError` unless `value` is a number of the right kind, `OptionError` unless it is finite and fits."""
        self[name]
        array = self._arrays[name]
        if not _is_number_of(array.dtype.kind, value):
            raise InputTypeError(f"hyper `{name}` is {array.dtype}; {shown(value)} is no such number")
        try:
            if not math.isfinite(value):
                raise OptionError(f"hyper `{name}` must be finite, not {shown(value)}")
            with np.errstate(over="ignore"):
                stored = np.asarray(int(value) if array.dtype.kind in "iu" else float(value)).astype(array.dtype)
        except OverflowError:  # a Python integer beyond f64 or i64
            stored = np.asarray(math.inf)
        if not np.isfinite(stored) or (array.dtype.kind in "iu" and int(stored) != int(value)):
            raise OptionError(f"hyper `{name}` is {array.dtype}; {shown(value)} does not fit")
        array[...] = stored

    def __iter__(self) -> Iterator[str]:
        return iter(self._arrays)

    def __len__(self) -> int:
        return len(self._arrays)

    def __repr__(self) -> str:
        return f"{{{', '.join(f'{name!r}: {self[name]!r}' for name in self)}}}"


def _is_number_of(kind: str, value: object) -> bool:
    """Whether `value` is a truth value for a bool, an integer for an integer, a real number for a float."""
    if isinstance(value, bool | np.bool_) or kind == "b":
        return isinstance(value, bool | np.bool_) and kind == "b"
    return isinstance(value, numbers.Integral if kind in "iu" else numbers.Real)


def unknown_name(kind: str, name: object, known: list[str]) -> UnknownNameError:
    """The error for a name that is not there, with the nearest one that is."""
    from difflib import get_close_matches  # only when something is wrong

    folded = {one.lower(): one for one in known}
    near = get_close_matches(str(name)[:200].lower(), folded, 1)
    hint = f"; did you mean `{folded[near[0]]}`?" if near else ""
    return UnknownNameError(f"no {kind} `{str(name)[:80]}`{hint}")
