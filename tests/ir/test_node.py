"""Nodes: immutable, interned by type and bits, walked without recursion; graphs over them."""

from __future__ import annotations

import copy
import gc
import threading
import weakref
from typing import Any

import pytest

import graphc.ops  # noqa: F401
from graphc.ir.dims import symbol
from graphc.ir.graph import Graph, inline, rebuild
from graphc.ir.node import OPS, ConstArray, Node, constant, leaf, make, postorder
from graphc.ir.types import BOOL, DTYPES, F32, F64, I32, TensorType, TupleType, TypeMismatch

B = symbol("B")
X = leaf("input", "x", TensorType(F64, (B, 3)))


def const(value: Any, dtype: Any = F64) -> Node:
    return make("const", value=value, dtype=dtype, shape=())


def test_equal_nodes_are_one_node() -> None:
    assert make("exp", X) is make("exp", X)
    assert make("reduce_sum", X, axes=(1,)) is make("reduce_sum", X, axes=(1,))
    assert make("reduce_sum", X, axes=(1,)) is not make("reduce_sum", X, axes=(0,))
    assert X is leaf("input", "x", TensorType(F64, (symbol("B"), 3)))


def test_values_are_told_apart_by_type_and_bits() -> None:
    values = [const(1, I32), const(1.0), const(True, BOOL), const(0.0), const(-0.0), const(0, I32), const(1.0, F32)]
    assert len(set(values)) == len(values)
    nan = float("nan")
    assert const(nan) is const(float("nan")) and const(nan) is not const(-nan)
    assert const(float("inf")) is const(float("inf"))


def test_array_constants_are_equal_by_bits() -> None:
    def array(data: bytes) -> Node:
        return make("const", value=ConstArray(F64, (1,), data), dtype=F64, shape=(1,))

    assert array(bytes(8)) is array(bytes(8))
    assert array(bytes(8)) is not array(bytes(7) + b"\x80")
    with pytest.raises(TypeMismatch):
        array(bytes(4))


def test_graphs_as_attributes_are_equal_by_their_nodes() -> None:
    def group(*names: str) -> Node:
        return make("fused", X, body=Graph("body", (X,), {name: make("exp", X) for name in names}))

    assert group("r0") is group("r0")
    assert len({group("r0"), group("r1"), group("r0", "r1")}) == 3


def test_leaves_are_told_apart_by_role_name_and_type() -> None:
    kinds = [
        leaf(role, name, t) for role in ("input", "param") for name in ("a", "b") for t in (X.type, TensorType(F64))
    ]
    assert len(set(kinds)) == 8


def test_threads_that_make_one_node_get_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    """A thread may be stopped between looking for a node and keeping the one it made."""
    definition, both = OPS["neg"], threading.Barrier(2, timeout=60)

    class Waiting(type(definition)):  # type: ignore[misc]
        def infer(self, *types: Any, **attrs: Any) -> Any:
            both.wait()
            return definition.infer(*types, **attrs)

    monkeypatch.setitem(OPS, "neg", Waiting())
    x = leaf("input", "only here", TensorType(F32, (7,)))
    found: list[Node] = []
    threads = [threading.Thread(target=lambda: found.append(make("neg", x))) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 2 and found[0] is found[1]


def test_a_node_is_immutable_and_not_pickled() -> None:
    with pytest.raises(AttributeError):
        X.op = "other"
    with pytest.raises(TypeError, match="pickled"):
        copy.copy(X)


def test_unused_nodes_are_freed() -> None:
    node = make("sin", make("cos", X))
    kept = weakref.ref(node), weakref.ref(node.inputs[0])
    del node
    gc.collect()
    assert kept[0]() is None and kept[1]() is None


def test_arithmetic_takes_numbers_in_the_type_of_the_node() -> None:
    y = 2.0 - X
    assert (y.op, y.inputs[0].op, y.inputs[0].attr("value"), y.inputs[0].type) == ("sub", "const", 2.0, X.type)
    assert (1.0 / X).op == "div" and (X / 2.0).op == "div" and (-X).op == "neg"
    assert (X + 1.0) is (X + constant(1, X.type))


def test_attributes_are_read_by_name() -> None:
    node = make("reduce_sum", X, axes=(1,))
    assert node.attr("axes") == (1,) and node.attrs_dict == {"axes": (1,)}
    with pytest.raises(KeyError):
        node.attr("axis")
    with pytest.raises(KeyError):
        make("no_such_op", X)


def test_postorder_puts_inputs_first_each_node_once_and_does_not_recurse() -> None:
    y = X
    for _ in range(50_000):
        y = make("exp", y)
    order = postorder([y, y * y])
    place = {node: i for i, node in enumerate(order)}
    assert len(order) == 50_002 == len(place)
    assert all(place[x] < place[node] for node in order for x in node.inputs)


def test_postorder_is_left_to_right() -> None:
    a, b = make("sin", X), make("cos", X)
    assert postorder([a + b]) == [X, a, b, a + b]
    assert postorder([b + a, a]) == [X, b, a, b + a]


def test_a_graph_lists_nodes_symbols_and_users() -> None:
    y = X * X
    g = Graph("g", (X,), {"y": y, "z": make("exp", y)})
    assert [n.op for n in g.nodes()] == ["leaf", "mul", "exp"]
    assert [s.name for s in g.symbols()] == ["B"]
    assert g.users() == {X: [y], y: [make("exp", y)], make("exp", y): []}
    assert g.with_roots(g.roots) is g
    assert g.with_roots([X, y]).outputs == {"y": X, "z": y}


def test_rebuild_replaces_below_and_keeps_the_rest() -> None:
    a = make("sin", X)
    root = a * make("cos", X)
    (same,) = rebuild([root], lambda node, inputs: None)
    assert same is root
    (new,) = rebuild([root], lambda node, inputs: make("exp", *inputs) if node is a else None)
    assert new is make("exp", X) * make("cos", X)


def test_inline_binds_leaves_in_order() -> None:
    p, q = leaf("input", "p", X.type), leaf("input", "q", X.type)
    body = Graph("body", (q, p), {"r": p - q})
    assert inline(body, [X, make("exp", X)]) == [make("exp", X) - X]


def test_types_print_as_the_language_writes_them() -> None:
    assert str(TensorType(F32, (B, 10))) == "f32[B, 10]" and str(TensorType(F32)) == "f32"
    assert str(TupleType((TensorType(F32), TensorType(I32, (2,))))) == "(f32, i32[2])"
    assert not X.type.is_static and X.type.elements == 3 * B and X.type.rank == 2


def test_every_dtype_is_numpys_and_knows_its_range() -> None:
    import numpy as np

    for dtype in DTYPES.values():
        assert dtype.numpy.itemsize == dtype.size
        if dtype.is_integer:
            information = np.iinfo(dtype.numpy)
            assert dtype.range() == (information.min, information.max)
    assert BOOL.range() == (0, 1)
