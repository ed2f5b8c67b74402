"""What a contraction is: its sums, and what happens to them. graphc.codegen.contraction says how to write it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING, Protocol

from graphc.codegen.ssa import Value

if TYPE_CHECKING:
    from graphc.codegen.llvm import Function

Extent = int | str  # known at compile time, or the name of an i64 parameter of the function


@dataclass(frozen=True)
class KAxis:
    """One summation index: how many values it takes, and what a step means in A and in B (in elements).

    The outermost may take a different number in each call, even none, but never more than `most`.
    """

    extent: Extent
    a_stride: Extent
    b_stride: Extent
    most: Extent | None = None

    @property
    def bound(self) -> Extent:
        """What to plan for."""
        return self.extent if self.most is None else self.most

    @property
    def is_known(self) -> bool:
        """Whether all of it is known at compile time."""
        return all(isinstance(number, int) for number in (self.extent, self.a_stride, self.b_stride))


Columns = list[tuple[Value, Value | None]]  # where each vector begins, and its mask; None if all lanes are columns


@dataclass(frozen=True)
class Tile:
    """A finished register tile: accumulators[r][c] is the vector of row rows[r] from column columns[c][0] on.

    All numbers are i64; the mask of a column vector (i1 lanes) is None where every lane is a column of the result.
    """

    rows: list[Value]
    columns: Columns
    accumulators: list[list[Value]]


Epilogue = Callable[["Function", dict[str, Value], Tile], None]
Announce = Callable[["Function", dict[str, Value], Value, list[Value]], None]  # a row, and where vectors of it begin


class Late(Protocol):
    """An epilogue of sums that lie in memory, of which a vector at a time can be computed amid other sums."""

    @property
    def registers(self) -> int:
        """Vectors that it needs at a time."""

    def vector(
        self, f: Function, given: Mapping[str, Value], sums: Value, row: Value, column: Value, mask: Value | None
    ) -> None:
        """The epilogue of one vector of a row, of the lanes of the mask."""

    def tile(self, f: Function, given: Mapping[str, Value], sums: Value, place: Sequence[Value], of: Columns) -> None:
        """The epilogue of a whole tile; `place` are its first row, first column and number of rows."""


@dataclass(frozen=True)
class Contraction:
    """acc[m, n] = sum over all k of A[m*a_row_stride + sum k_i*a_stride_i] * B[n*b_column_stride + sum k_i*b_stride_i].

    `scalar` is "float" or "double"; `k` has at least one axis, outermost first. `params` are (LLVM type, name) of
    further parameters, handed to the epilogue unchanged; every extent that is a name is one of them (an i64).

    `vectors` fixes the column vectors of a tile, for an epilogue that needs certain columns together or for a B that
    was laid out beforehand: then panels of so many vectors lie `panel_stride` apart, and every one has its full width
    (the last may hold anything behind column n). [panel][k][width] is the layout B is packed into otherwise.
    `split`: several threads call the function, each for its part of the tiles, of row tiles of this height if there is
    a `row_tile`. `announce` runs for every row of a tile amid its sums: it asks for memory that the epilogue will read
    or write; `reads` tells whether it reads tensors of the result's size. `fetch` does the same for what others will
    need, which has no say in the order of tiles.
    `late`: the epilogue may also run amid the sums of the tile that is computed next.
    `pairs`: an element of A or B is two bfloat16 numbers in four bytes, of which the products of both are added.

    `seen`: of row m nobody reads columns from m + seen on, so that tiles of such columns only are left out. `nonzero`:
    row m of A is zero from k = m + nonzero on (of the outermost k), `zero`: it is before k = m + zero, and B is finite
    there: sums may end sooner, or begin later.
    """

    name: str
    scalar: str
    m: Extent
    n: Extent
    k: tuple[KAxis, ...]
    a_row_stride: Extent
    b_column_stride: Extent
    params: tuple[tuple[str, str], ...]
    epilogue: Epilogue
    vectors: int | None = None
    panel_stride: Extent | None = None
    split: bool = False
    row_tile: int | None = None
    announce: Announce | None = None
    fetch: Announce | None = None
    reads: bool = False
    late: Late | None = None
    pairs: bool = False
    seen: Extent | None = None
    nonzero: Extent | None = None
    zero: Extent | None = None

    @property
    def is_cut(self) -> bool:
        """Whether a tile may leave out some k."""
        return self.nonzero is not None or self.zero is not None


@dataclass(frozen=True)
class Elements:
    """A number of elements: a sum of integer multiples of products of extents given by name."""

    terms: tuple[tuple[int, tuple[str, ...]], ...] = ()

    def __bool__(self) -> bool:
        return bool(self.terms)

    def __call__(self, sizes: Mapping[str, int]) -> int:
        """The number for these values of the named extents."""
        return sum(factor * prod(sizes[name] for name in names) for factor, names in self.terms)
