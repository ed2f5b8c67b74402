"""check="finite": a call or batch that makes a NaN or an infinity is undone, and said where it comes from.

Native code runs as always. Before a call (in `fit` before a chunk of some hundredths of a second) the variables are
copied; afterwards figures, outputs and updated variables are looked at. If one is not finite, the variables are put
back, the batches of the chunk are made again one by one up to the bad one (same bits, so the same fault), and the
compiler's reference interpreter computes that batch op by op to find the first value that is not finite.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from graphc.runtime.buffers import as_input
from graphc.runtime.entry import BoundEntry, argument_name
from graphc.runtime.epoch import BatchLoop
from graphc.runtime.errors import NonFiniteError
from graphc.runtime.shapes import solve
from graphc.runtime.store import Store

Explain = Callable[[str, Mapping[str, NDArray[Any]], Mapping[str, int]], str | None]
"""(entry, leaves by name, run-time sizes) -> where the first non-finite value comes from."""


class FiniteCheck:
    """Watches the calls of one model; its lock is held."""

    def __init__(self, store: Store, explain: Explain) -> None:
        self._store, self._explain = store, explain
        self._copy = np.empty_like(store.slab.memory)
        self._updated: dict[str, list[tuple[NDArray[Any], NDArray[Any]]]] = {}  # entry -> its float variables, zeros
        self._nothing: dict[str, NDArray[Any]] = {}

    def call(self, bound: BoundEntry, given: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
        """`bound.run(given)`, or `NonFiniteError` with the variables as they were before."""
        self._keep(bound)
        figures, outputs = bound.run(given)
        if not (_are_finite(figures.values()) and all(map(is_finite, outputs.values())) and self._is_sound(bound)):
            self._undo(bound)
            raise self._error(bound, given, {**figures, **outputs})
        return figures, outputs

    def run(self, loop: BatchLoop, batches: int) -> None:
        """`loop.run(batches)`, or `NonFiniteError` with variables and loop as they were before the bad batch."""
        position, sums = loop.position, loop.sums
        self._keep(loop.bound)
        loop.run(batches)
        if self._is_fine(loop):
            return
        self._undo(loop.bound)
        loop.begin(loop.order, position, sums)
        for _ in range(batches):
            position, sums = loop.position, loop.sums
            self._keep(loop.bound)
            loop.run(1)
            if not self._is_fine(loop):
                figures = dict(zip(loop.names, loop.sums, strict=True))
                self._undo(loop.bound)
                loop.begin(loop.order, position, sums)
                raise self._error(loop.bound, loop.inputs_at(position), figures)

    def _is_fine(self, loop: BatchLoop) -> bool:
        return _are_finite(loop.sums) and self._is_sound(loop.bound)

    def _keep(self, bound: BoundEntry) -> None:
        if bound.entry.updates:
            np.copyto(self._copy, self._store.slab.memory)

    def _undo(self, bound: BoundEntry) -> None:
        if bound.entry.updates:
            np.copyto(self._store.slab.memory, self._copy)

    def _is_sound(self, bound: BoundEntry) -> bool:
        if bound.key not in self._updated:
            arrays = [self._store.slab.arrays[name].reshape(-1) for name in bound.entry.updates]
            self._updated[bound.key] = [(a, self._zeros(a.dtype, a.size)) for a in arrays if a.dtype.kind == "f"]
        return all(math.isfinite(array.dot(zeros)) for array, zeros in self._updated[bound.key])

    def _zeros(self, dtype: np.dtype[Any], size: int) -> NDArray[Any]:
        """Their product with an array, the fastest look at it there is, is NaN if one of its elements is not finite."""
        have = self._nothing.get(dtype.name)
        if have is None or have.size < size:
            have = self._nothing[dtype.name] = np.zeros(size, dtype)
        return have[:size]

    def _error(self, bound: BoundEntry, given: Mapping[str, Any], results: Mapping[str, Any]) -> NonFiniteError:
        leaves = [leaf for leaf, _ in bound.given]
        inputs = {leaf.name: as_input(given[argument_name(leaf)], leaf) for leaf in leaves}
        sizes = solve(bound.signature, leaves, [array.shape for array in inputs.values()])
        found = self._explain(bound.key, {**self._store.slab.arrays, **inputs}, sizes)
        if found is None:  # rounding of its own, at the edge of the range
            names = ", ".join(f"`{name}`" for name, value in results.items() if not np.isfinite(value).all())
            found = (
                f"{bound.key}: {names or 'an updated variable'} is not finite, by an overflow at the edge of the range"
            )
        return NonFiniteError(found)


def is_finite(array: NDArray[Any]) -> bool:
    """Whether no element is NaN or infinite."""
    return array.dtype.kind != "f" or bool(np.isfinite(array).all())


def _are_finite(values: Any) -> bool:
    return all(math.isfinite(value) for value in values)
