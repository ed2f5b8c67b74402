"""Copies whose neighbours in the result are no neighbours in the source: squares of vectors are turned in registers.

A vector of the result, such as that of a transposed matrix, would otherwise be gathered element by element.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from graphc.codegen.kernel import Affine, For, Load, Store, Var
from graphc.codegen.llvm import vector
from graphc.codegen.packing import transpose
from graphc.codegen.primitives import llvm_type
from graphc.codegen.scalar_code import ScalarCode

SIZE = 4  # bytes of an element: of larger ones a gather is of few, smaller ones have no such vectors


@dataclass(frozen=True)
class TurnedCopy:
    """store[.. + to_step * along + across] = load[.. + along + from_step * across], of known extents."""

    store: Store
    load: Load
    along: Var
    across: Var

    def emit(self, code: ScalarCode, lanes: int) -> None:
        """All whole squares of `lanes` rows and columns."""
        f, kind = code.f, llvm_type(self.load.dtype)
        from_step, to_step = self.load.at.coefficient(self.across), self.store.at.coefficient(self.along)
        whole = (_whole(self.across, lanes), _whole(self.along, lanes))
        with (
            f.loop(0, whole[0], lanes) as outer,
            code.scope(self.across, outer.index, False),
            f.loop(0, whole[1], lanes) as inner,
            code.scope(self.along, inner.index, False),
        ):
            source, to = (code.address(x.buffer, x.at) for x in (self.load, self.store))
            starts = [f.offset(source, kind, f.mul(code.dim(from_step), row)) for row in range(lanes)]
            square = transpose(f, [f.load(start, vector(kind, lanes)) for start in starts])
            for row, value in enumerate(square):
                f.store(value, f.offset(to, kind, f.mul(code.dim(to_step), row)))

    def rest(self, loop: For, lanes: int) -> Iterator[For]:
        """The copy's two loops for what is in no whole square."""
        (inner,) = loop.body
        assert isinstance(inner, For), "a copy has two loops"
        for var in (self.along, self.across):
            whole = Affine(_whole(var, lanes))
            if whole.constant != var.extent:
                yield (
                    replace(loop, start=whole)
                    if loop.var is var
                    else replace(loop, body=(replace(inner, start=whole),))
                )


def turned_copy(loop: For, lanes: int) -> TurnedCopy | None:
    """What a loop in a loop copies, if it turns it and if there is a whole square of so many lanes."""
    inner = loop.body[0] if len(loop.body) == 1 else None
    if not isinstance(inner, For) or len(inner.body) != 1 or any(one.folds or one.bounds for one in (loop, inner)):
        return None
    store = inner.body[0]
    load = store.value if isinstance(store, Store) and not store.add else None
    if not isinstance(store, Store) or not isinstance(load, Load) or load.guard is not None:
        return None
    if load.dtype != store.buffer.dtype or load.dtype.size != SIZE:
        return None
    if not all(isinstance(term, Var) for x in (load, store) for term, _ in x.at.terms):
        return None
    along, across = (loop.var, inner.var) if load.at.coefficient(loop.var) == 1 else (inner.var, loop.var)
    turns = load.at.coefficient(along) == store.at.coefficient(across) == 1
    apart = all(step not in (0, 1) for step in (load.at.coefficient(across), store.at.coefficient(along)))
    fits = all(isinstance(var.extent, int) and var.extent >= lanes for var in (along, across))
    return TurnedCopy(store, load, along, across) if turns and apart and fits else None


def _whole(var: Var, lanes: int) -> int:
    assert isinstance(var.extent, int), "extents are known"
    return var.extent // lanes * lanes
