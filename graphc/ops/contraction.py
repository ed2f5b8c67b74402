"""Contraction: products of two operands summed over shared axes; every matrix product and einsum."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import lru_cache

import numpy as np

from graphc.ir.dims import Dim
from graphc.ir.node import Node, make
from graphc.ir.types import F64, TensorType
from graphc.ops.bfloat import Products
from graphc.ops.build import reduce
from graphc.ops.op import Array, Cotangents, Sample, expect, register
from graphc.ops.rules import check_kind


@lru_cache(maxsize=1024)
def parse(spec: str) -> tuple[str, str, str]:
    """The labels of a, of b and of the result; raises TypeMismatch for a malformed spec."""
    match = re.fullmatch(r"([a-z]*),([a-z]*)->([a-z]*)", spec) if isinstance(spec, str) else None
    expect(match is not None, f"contract: {spec!r} is not of the form 'bik,bkj->bij'")
    assert match is not None
    a, b, result = match.groups()
    for labels in (a, b, result):
        expect(len(set(labels)) == len(labels), f"contract: a label stands twice in {labels!r} of {spec!r}")
    expect(set(result) <= set(a + b), f"contract: a label of the result of {spec!r} is in no operand")
    return a, b, result


@register
class Contract(Products):
    """contract(a, b, spec): the sum of a * b over the labels that are missing in the result, as in einsum.

    "bik,bkj->bij" is a batched matrix product.  A label names an axis: a to z, once in an operand; axes of one
    label have one dimension; a label of one operand alone stands in the result (`contract` of this module sums
    such axes beforehand).  The elements are floats, and the sum is carried out in their type.
    How they are taken, `Products` says.
    """

    name = "contract"
    kernel = "contraction"

    def type_of(self, a: TensorType, b: TensorType, *, spec: str) -> TensorType:  # type: ignore[override]
        labels = parse(spec)
        sizes: dict[str, Dim] = {}
        for position, (x, names) in enumerate(zip((a, b), labels[:2], strict=True)):
            check_kind("contract", x, "f", position)
            expect(len(names) == x.rank, f"contract: {names!r} of {spec!r} does not label the axes of {x}", position)
            for name, dim in zip(names, x.shape, strict=True):
                known = sizes.setdefault(name, dim)
                expect(known == dim, f"contract: {name!r} of {spec!r} is {known} in {a} and {dim} in {b}", 0, 1)
                shared = name in labels[1 - position] or name in labels[2]
                expect(shared, f"contract: {name!r} of {spec!r} is in one operand only; sum it first", position)
        expect(a.dtype == b.dtype, f"contract needs one element type, got {a} and {b}", 0, 1, hint="use cast")
        return TensorType(a.dtype, tuple(sizes[name] for name in labels[2]))

    def vjp(self, node: Node, dy: Node) -> Cotangents:
        """Each label of an operand is in the other one or in dy, so both are contractions again.

        They round what they multiply as this one does; rounding itself counts as the identity.
        """
        (a, b), (la, lb, lr) = node.inputs, parse(node.attr("spec"))
        return like(node, dy, b, spec=f"{lr},{lb}->{la}"), like(node, a, dy, spec=f"{la},{lr}->{lb}")

    def sums(self, a: Array, b: Array, *, spec: str) -> Array:  # type: ignore[override]
        return np.einsum(spec, a, b, optimize=True)

    def samples(self, size: int) -> Iterator[Sample]:
        n = size
        cases: list[tuple[str, tuple[int, ...], tuple[int, ...]]] = [
            ("ik,kj->ij", (n, 5), (5, 3)),
            ("ik,jk->ij", (3, n), (4, n)),
            ("ki,kj->ij", (5, 2), (5, n)),
            ("ki,jk->ji", (n, 2), (3, n)),
            ("bik,bkj->bij", (2, 3, n), (2, n, 2)),
            ("ik,k->i", (n, 4), (4,)),
            ("k,kj->j", (n,), (n, 3)),
            ("i,i->", (n,), (n,)),
            ("i,j->ij", (n,), (3,)),
            ("bi,bi->b", (3, n), (3, n)),
            ("abc,cb->a", (2, n, 3), (3, n)),
            ("ij,ij->ij", (n, 2), (n, 2)),
            (",->", (), ()),
            ("bk,bkj->bj", (n, 3), (n, 3, 2)),
        ]
        for spec, a, b in cases:
            yield Sample((TensorType(F64, a), TensorType(F64, b)), {"spec": spec})


def like(node: Node, a: Node, b: Node, *, spec: str) -> Node:
    """Another contraction, which takes its operands as `node` does."""
    return make("contract", a, b, **{**node.attrs_dict, "spec": spec})


def contract(a: Node, b: Node, spec: str, **attrs: str) -> Node:
    """The contraction of two nodes; labels of one operand alone are summed beforehand."""
    la, lb, lr = parse(spec)
    alone = [[i for i, name in enumerate(own) if name not in other + lr] for own, other in ((la, lb), (lb, la))]
    kept_a = "".join(name for i, name in enumerate(la) if i not in alone[0])
    kept_b = "".join(name for i, name in enumerate(lb) if i not in alone[1])
    a, b = reduce("sum", a, *alone[0]), reduce("sum", b, *alone[1])
    return make("contract", a, b, spec=f"{kept_a},{kept_b}->{lr}", **attrs)


def may_split(node: Node) -> bool:
    """Whether the columns of a product can be computed in parts side by side: rows of a by a matrix of known size."""
    if node.op != "contract" or len(node.shape) != 2:
        return False
    a, b, result = parse(node.attr("spec"))
    plain = len(a) == len(b) == 2 and result[0] in a and result[1] in b
    return plain and all(isinstance(dim, int) for dim in node.inputs[1].shape)


def part_of(x: Node, whole: Node) -> int | None:
    """Which of the equal parts of the last axis of `whole` x is; None if it is no such part."""
    if x.op != "slice" or x.inputs[0] is not whole:
        return None
    start, stop, step = x.attr("start"), x.attr("stop"), x.attr("step")
    width, total = x.shape[-1], whole.shape[-1]
    others = all(begin == 0 for begin in start[:-1]) and stop[:-1] == whole.shape[:-1]
    known = isinstance(start[-1], int) and isinstance(width, int) and isinstance(total, int)
    if not (others and known and all(by == 1 for by in step)) or width == 0:
        return None
    return start[-1] // width if start[-1] % width == 0 and total % width == 0 else None
