"""Pipelines: text, verification, traces, failures, levels."""

from __future__ import annotations

from time import process_time

import pytest

import graphc.ops  # noqa: F401  fills the registry
from graphc.ir.graph import Graph
from graphc.ir.node import Node, leaf, make
from graphc.ir.types import F32, TensorType
from graphc.passes.levels import LEVELS, PASSES, pipeline
from graphc.passes.pipeline import Pass, PassTrace, Pipeline, graph_pass
from graphc.runtime.errors import InternalError

X = leaf("input", "x", TensorType(F32, (4,)))
G = Graph("g", (X,), {"y": make("softmax", X * 1.0, axis=0)})


def test_text_is_read_back() -> None:
    assert str(pipeline("fold-constants, simplify")) == "fold-constants,simplify"
    assert pipeline("").run(G) is G
    for level, passes in LEVELS.items():
        assert pipeline(level).passes == passes
        assert str(pipeline(str(pipeline(level)))) == str(pipeline(level))


def test_an_unknown_pass_lists_the_known_ones() -> None:
    with pytest.raises(ValueError, match="there is no pass fold; the passes are fold-constants, simplify"):
        pipeline("simplify,fold")


def test_every_pass_is_described_and_in_kebab_case() -> None:
    for name, one in PASSES.items():
        assert one.name == name
        assert name == name.lower().replace("_", "-")
        assert one.doc.endswith(".")


def test_a_pass_needs_a_docstring() -> None:
    with pytest.raises(ValueError, match="pass p has no docstring"):
        graph_pass("p")(lambda graph: graph)


def test_levels_leave_only_what_can_be_lowered() -> None:
    for level in LEVELS:
        assert not any(node.op in ("softmax", "stop_gradient") for node in pipeline(level).run(G).nodes())


def test_a_failing_pass_is_named() -> None:
    def fail(graph: Graph) -> Graph:
        raise ZeroDivisionError("oh")

    with pytest.raises(InternalError) as caught:
        Pipeline((Pass("bad", fail, "Fails."),)).run(G)
    assert "pass bad failed: ZeroDivisionError: oh" in str(caught.value)
    assert "softmax" in str(caught.value)
    assert isinstance(caught.value.__cause__, ZeroDivisionError)


def test_a_pass_that_breaks_an_invariant_is_named() -> None:
    broken = Pass("bad", lambda g: Graph(g.name, (), g.outputs), "Forgets the leaves.")
    with pytest.raises(InternalError, match="the result of pass bad failed: VerifyError: graph g: the leaf is not"):
        Pipeline((broken,)).run(G)
    Pipeline((broken,)).run(G, verify=False)


def test_the_input_is_verified() -> None:
    with pytest.raises(InternalError, match="the input of the pipeline failed"):
        pipeline("simplify").run(Graph("g", (), G.outputs))


def test_traces() -> None:
    seen: list[PassTrace] = []
    run = pipeline("simplify,decompose,decompose")
    result = run.run(G, trace=seen.append)
    assert [t.name for t in seen] == ["simplify", "decompose", "decompose"]
    assert [t.changed for t in seen] == [True, True, False]
    assert seen[0].before is G
    assert seen[-1].after is result
    assert all(t.seconds >= 0 for t in seen)
    assert "no change" in str(seen[2])
    assert "-> 8 nodes" in str(seen[1])


def test_a_long_report_is_cut() -> None:
    y: Node = X
    for _ in range(1000):
        y = make("tanh", y)
    broken = Pass("bad", lambda g: Graph(g.name, (), g.outputs), "Forgets the leaves.")
    with pytest.raises(InternalError, match=r"\.\.\. \d+ more lines$"):
        Pipeline((broken,)).run(Graph("g", (X,), {"y": y}))


@pytest.mark.parametrize("level", LEVELS)
def test_a_long_chain_compiles_in_linear_time(level: str) -> None:
    y: Node = X
    for i in range(8_000):
        y = (y * 1.5 + X, make("reshape", y, shape=(2, 2)), make("tanh", y))[i % 3]
        y = make("reshape", y, shape=(4,))
    graph = Graph("g", (X,), {"y": y})
    start = process_time()
    pipeline(level).run(graph)
    assert len(graph.nodes()) > 18_000
    assert process_time() - start < 30
