"""Recurrences whose derivative keeps the carried values of every so many steps, and computes those between again.

A recurrence of T steps becomes one over chunks of steps, with one over the steps of a chunk inside.  The derivative of
the outer one keeps what is carried into each chunk; for every chunk it runs the inner one again, which keeps what its
own derivative reads.  Chunks of about the square root of T steps need the least memory: 2 sqrt(T) steps instead of T,
for one more run of the steps (Chen et al. 2016, "Training deep nets with sublinear memory cost").
"""

from __future__ import annotations

from math import isqrt

from graphc.ir.dims import Dim, bounds, floordiv
from graphc.ir.graph import rebuild
from graphc.ir.node import Node, constant, make
from graphc.ir.types import I32, TensorType
from graphc.ops.build import cast, compare, fill, size_of
from graphc.ops.scan import Carry, Recurrence, inner_leaf, open_scan

CHUNK = 16  # steps, if no largest length is known


def chunk_steps(length: Dim) -> int:
    """The steps of a chunk: the square root of the length, or of the largest one."""
    most = bounds(length)[1]
    return CHUNK if most is None else max(1, isqrt(most))


def checkpointed(recurrence: Recurrence) -> tuple[list[Node], list[Node]]:
    """(final carries, stacked emits) of the recurrence, computed chunk by chunk."""
    r = open_scan(recurrence.close())
    steps = chunk_steps(r.length)
    chunks = floordiv(r.length + (steps - 1), steps)
    is_even = chunks * steps == r.length
    chunk, step = inner_leaf("index", TensorType(I32)), inner_leaf("index", TensorType(I32))
    t = chunk * steps + step
    alive = None
    if not is_even:
        length = cast(size_of(r.length, I32), I32)
        alive, t = compare("lt", t, length), make("min", t, length - constant(1, length.type))  # t stays an index
    roots = rebuild(r.roots, lambda node, _: t if node is r.index else None)
    outer = [inner_leaf("carry", c.leaf.type) for c in r.carries]
    inner = [
        Carry(c.leaf, start, new if alive is None else make("where", fill(alive, c.leaf.shape), new, c.leaf))
        for c, start, new in zip(r.carries, outer, roots, strict=False)
    ]
    pieces = [(inner_leaf("input", x.type.with_shape((steps, *x.shape))), x, around) for x, around in r.elements]
    within = Recurrence(
        steps, r.reverse, step, inner, roots[len(inner) :], [(x, piece) for piece, x, _ in pieces], [], False
    )
    finals, stacked = within.results()
    whole = Recurrence(
        chunks,
        r.reverse,
        chunk,
        [Carry(leaf, c.start, final) for leaf, c, final in zip(outer, r.carries, finals, strict=True)],
        stacked,
        [(piece, _in_chunks(around, chunks, steps)) for piece, _, around in pieces],
        r.values,
        True,
    )
    last, every = whole.results()
    return last, [_first(x, r.length) for x in every]


def _in_chunks(x: Node, chunks: Dim, steps: int) -> Node:
    """A sequence as chunks of steps; the last one is filled up with the last element."""
    length, rest = x.shape[0], x.shape[1:]
    missing = chunks * steps - length
    if missing != 0:
        zeros, stop = (0,) * len(rest), (length, *rest)
        last = make("slice", x, start=(length - 1, *zeros), stop=stop, step=(1,) * len(stop))
        last = make("reshape", last, shape=rest)
        more = make("broadcast", last, shape=(missing, *rest), axes=tuple(range(1, len(rest) + 1)))
        x = make("concat", x, more, axis=0)
    return make("reshape", x, shape=(chunks, steps, *rest))


def _first(x: Node, length: Dim) -> Node:
    """The first elements of stacked chunks of stacked values."""
    chunks, steps, *rest = x.shape
    flat = make("reshape", x, shape=(chunks * steps, *rest))
    if flat.shape[0] == length:
        return flat
    return make("slice", flat, start=(0,) * len(flat.shape), stop=(length, *rest), step=(1,) * len(flat.shape))
