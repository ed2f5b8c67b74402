"""Data sets in memory: whole inputs, checked once, and the axis along which they are cut into batches."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from graphc.runtime.buffers import as_input
from graphc.runtime.dimexpr import linear, symbols
from graphc.runtime.errors import InputShapeError, InputTypeError, NotAvailableError, OptionError
from graphc.runtime.shapes import solve
from graphc.runtime.signature import Leaf, Signature


@dataclass(frozen=True)
class BatchAxis:
    """How inputs are cut into batches: leading axes are `factor` rows for each unit of the symbol.

    `symbol` None: the batch size was fixed at compile time to `fixed`. Inputs of factor 0 are given whole each time.
    """

    symbol: str | None
    fixed: int | None
    factors: Mapping[str, int]


def batch_axis(signature: Signature, leaves: Sequence[Leaf]) -> BatchAxis:
    """The batch dimension: the first leading axis that is a run-time symbol, else the first leading size."""
    leading = [leaf.shape[0] for leaf in leaves if leaf.shape]
    if not leading:
        raise NotAvailableError(f"{signature.name} has no input with an axis to cut into batches")
    symbol = next((size for size in leading if isinstance(size, str)), None)
    if symbol is None:
        fixed = leading[0] if isinstance(leading[0], int) else None
        if fixed is None:
            raise NotAvailableError(f"{signature.name} has no input whose leading axis is a plain dimension")
        return BatchAxis(None, fixed, {x.name: int(bool(x.shape) and x.shape[0] == fixed) for x in leaves})
    factors: dict[str, int] = {}
    for leaf in leaves:
        first = leaf.shape[0] if leaf.shape else 1
        form = linear(first, symbol, {}) if set(symbols(first)) <= {symbol} else None
        uses_later = any(symbol in symbols(size) for size in leaf.shape[1:])
        mixed = form is not None and form[0] != 0 and (form[1] != 0 or form[0] < 0)
        if uses_later or mixed or (form is None and symbol in symbols(first)):
            raise NotAvailableError(f"`{leaf.name}` cannot be cut into batches along {symbol}")
        factors[leaf.name] = form[0] if form is not None else 0
    return BatchAxis(symbol, None, factors)


class Dataset:
    """Inputs of a whole data set, converted and checked once: names, dtypes, equal lengths."""

    def __init__(
        self, signature: Signature, leaves: Sequence[Leaf], data: Mapping[str, Any], unused: Collection[str] = ()
    ) -> None:
        """`unused` are names that may be in `data` and are not looked at."""
        wanted = [leaf.name for leaf in leaves]
        wrong = [f"missing `{n}`" for n in wanted if n not in data]
        wrong += [f"unknown `{str(n)[:80]}`" for n in data if n not in wanted and n not in unused]
        if wrong:
            raise InputTypeError(f"{', '.join(wrong)}: the data must be {', '.join(wanted)}")
        self.signature, self.leaves = signature, list(leaves)
        self.axis = batch_axis(signature, self.leaves)
        self.arrays = {leaf.name: as_input(data[leaf.name], leaf) for leaf in self.leaves}
        counts: dict[str, int] = {}
        for leaf in self.leaves:
            array, factor = self.arrays[leaf.name], self.axis.factors[leaf.name]
            if array.ndim != len(leaf.shape):
                solve(signature, [leaf], [array.shape])  # says what the rank should be
            if factor:
                if array.shape[0] % factor:
                    raise InputShapeError(f"`{leaf.name}` has {array.shape[0]} rows, not a multiple of {factor}")
                counts[leaf.name] = array.shape[0] // factor
        if len(set(counts.values())) != 1:
            said = ", ".join(f"{count} in `{name}`" for name, count in counts.items())
            raise InputShapeError(f"the inputs differ in length: {said}")
        self.rows = next(iter(counts.values()))
        if self.rows == 0:
            raise InputShapeError("the data has no rows")

    def shapes(self, rows: int) -> list[tuple[int, ...]]:
        """The shapes of a batch of `rows`."""
        return [
            (self.axis.factors[x.name] * rows, *self.arrays[x.name].shape[1:])
            if self.axis.factors[x.name]
            else self.arrays[x.name].shape
            for x in self.leaves
        ]

    def check_batch(self, batch: int, rows: int) -> int:
        """How many of `rows` rows are used: all, but with a fixed batch size whole batches only; `OptionError`."""
        if self.axis.symbol is not None:
            return rows
        if batch != self.axis.fixed:
            raise OptionError(f"the batch size was fixed to {self.axis.fixed} at compile time, not {batch}")
        if rows < batch:
            raise InputShapeError(f"{rows} rows are fewer than the batch of {batch} fixed at compile time")
        return rows - rows % batch

    def rows_of(self, start: int, stop: int) -> dict[str, Any]:
        """The inputs of the rows from `start` to before `stop`."""
        factors = self.axis.factors
        return {
            name: array[start * factors[name] : stop * factors[name]] if factors[name] else array
            for name, array in self.arrays.items()
        }
