"""Tests as files, in Cranelift's manner: a source text whose comments say what to do and what comes out.

    # test: optimise simplify             what to do; several lines do several things
    # structure: add=2 contract=1         how many nodes of an op the resulting graph has, inner graphs included
    # sizes: B=3                          run-time sizes of `run`
    # input x = [1.0, nan]                a leaf of `run`; leaves without one get numbers from a fixed seed
    # output y = [1.0, nan]               what `run` expects of the reference
    # tolerance: 1e-6                     of `run` (default 1e-5 for f32, 1e-12 for f64; integers are exact)
    #| graph g {                          the text that comes out, at the end of the file (`pytest --bless` writes it)

A `.graph` file holds a graph text, a `.gc` file a model.  Commands: `parse` prints the text again (of a model: its
syntax tree), `graph`, `gradient` print an entry of a model, `optimise PASSES|LEVEL` the graph after passes, `run`
computes with the reference, O0 and O2, which must agree, `errors` expects `# error: words` on each line at fault.
`kernels`, `memory` print the loop nests and the memory plan of an entry of a model, for x86-64-v4.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

import graphc.ops  # noqa: F401  fills the registry
from graphc.diagnostics import render_all
from graphc.driver import read_source, stage_text
from graphc.frontend.build import elaborate
from graphc.frontend.limits import DEFAULT_LIMITS
from graphc.graph_function import compile_graph
from graphc.ir.dims import evaluate
from graphc.ir.graph import Graph
from graphc.ir.interpret import interpret
from graphc.ir.node import Node
from graphc.ir.text import GraphTextError, parse_graph, print_graph
from graphc.ir.verify import VerifyError, verify
from graphc.passes.levels import pipeline
from graphc.source import Source

TOLERANCES = {"f32": 1e-5, "f64": 1e-12}
HEAD = re.compile(r"# (test|structure|sizes|tolerance|entry): *(.*)")
VALUE = re.compile(r"# (input|output) ([^ =]+) *= *(.*)")
EXPECTED = "#|"


@dataclass
class Filetest:
    """One file: its directives, the text under test, and the lines expected."""

    path: Path
    text: str
    commands: list[list[str]] = field(default_factory=list)
    structure: dict[str, int] = field(default_factory=dict)
    sizes: dict[str, int] = field(default_factory=dict)
    values: dict[tuple[str, str], Any] = field(default_factory=dict)
    tolerance: float | None = None
    entry: str | None = None
    expected: str = ""

    @property
    def is_model(self) -> bool:
        return self.path.suffix == ".gc"


def read(path: Path) -> Filetest:
    """Reads a filetest; ValueError for a directive it does not know."""
    lines = path.read_text(encoding="utf-8").splitlines()
    end = next((i for i, line in enumerate(lines) if line.startswith(EXPECTED)), len(lines))
    test = Filetest(path, "\n".join(lines[:end]).rstrip("\n") + "\n")
    test.expected = "".join(line[len(EXPECTED) + 1 :] + "\n" for line in lines[end:])
    for line in lines[:end]:
        _directive(test, line)
    if not test.commands:
        raise ValueError(f"{path.name} has no `# test:` line")
    return test


def _directive(test: Filetest, line: str) -> None:
    if found := VALUE.fullmatch(line):
        kind, name, value = found.groups()
        test.values[kind, name] = json.loads(re.sub(r"\binf\b", "Infinity", value.replace("nan", "NaN")))
    elif found := HEAD.fullmatch(line):
        kind, value = found.groups()
        match kind:
            case "test":
                test.commands.append(value.split())
            case "structure" | "sizes":
                target = test.structure if kind == "structure" else test.sizes
                target |= {name: int(count) for name, count in (pair.split("=") for pair in value.split())}
            case "tolerance":
                test.tolerance = float(value)
            case "entry":
                test.entry = value


def run(test: Filetest, bless: bool) -> None:
    """Carries out every command of a file; AssertionError says what differs."""
    for name, *arguments in test.commands:
        if name not in COMMANDS:
            raise ValueError(f"{test.path.name}: there is no command {name}; commands are {', '.join(COMMANDS)}")
        printed = COMMANDS[name](test, arguments)
        if printed is not None:
            _compare(test, printed, bless)


def _compare(test: Filetest, printed: str, bless: bool) -> None:
    """The printed text against the expected one; a file with only a structure expects no text."""
    if not test.expected and test.structure:
        return
    if bless and printed != test.expected:
        lines = [f"{EXPECTED} {line}".rstrip() for line in printed.splitlines()]
        test.path.write_text(test.text + "\n" + "\n".join(lines) + "\n", encoding="utf-8")
        test.expected = printed
    assert printed == test.expected, f"{test.path.name}: pytest --bless accepts the new text"


def _graph(test: Filetest, default: str = "forward") -> Graph:
    if not test.is_model:
        graph = parse_graph(test.text)
        verify(graph)
        return graph
    program, diagnostics = elaborate(
        read_source(test.path), load=read_source, dims=None, model=None, limits=DEFAULT_LIMITS
    )
    assert program is not None, render_all(diagnostics)
    return program.entries[test.entry or default]


def _finish(test: Filetest, graph: Graph) -> str:
    verify(graph)
    counts = Counter(node.op for node in _all_nodes(graph))
    found = {op: counts[op] for op in test.structure}
    assert found == test.structure, f"{test.path.name}:\n{graph}"
    return print_graph(graph)


def _all_nodes(graph: Graph) -> Iterator[Node]:
    for node in graph.nodes():
        yield node
        for _, value in node.attrs:
            if isinstance(value, Graph):
                yield from _all_nodes(value)


def _parse(test: Filetest, arguments: list[str]) -> str:
    return stage_text(test.path, "ast") + "\n" if test.is_model else _finish(test, _graph(test))


def _inspect(test: Filetest, stage: str) -> str:
    return stage_text(test.path, stage, entry=test.entry or "forward", target="x86-64-v4") + "\n"


def _optimise(test: Filetest, arguments: list[str]) -> str:
    return _finish(test, pipeline(",".join(arguments)).run(_graph(test)))


def _errors(test: Filetest, arguments: list[str]) -> None:
    """Every error is on a line that says so, and every line that says so has its error."""
    wanted: list[tuple[int, str]] = []
    for number, line in enumerate(test.text.splitlines(), 1):
        wanted += [(number, words.strip()) for words in line.split("# error:")[1:]]
    found = list(_model_errors(test) if test.is_model else _graph_errors(test))
    for number, words in wanted:
        match = next((one for one in found if one[0] == number and words in one[1]), None)
        assert match is not None, f"{test.path.name}:{number}: no error `{words}` among {found}"
        found.remove(match)
    assert not found, f"{test.path.name}: unexpected errors {found}"
    assert wanted, f"{test.path.name}: expects no error"


def _graph_errors(test: Filetest) -> Iterator[tuple[int, str]]:
    try:
        verify(parse_graph(test.text))
    except GraphTextError as error:
        yield error.line, error.message
    except VerifyError as error:
        closing = next(i for i, line in enumerate(test.text.splitlines(), 1) if line.startswith("}"))
        yield closing, str(error)


def _model_errors(test: Filetest) -> Iterator[tuple[int, str]]:
    source = Source(str(test.path), test.text)
    diagnostics = elaborate(source, load=read_source, dims=None, model=None, limits=DEFAULT_LIMITS)[1]
    for one in diagnostics:
        place = one.span
        labels = "; ".join(label.text for label in one.labels)
        yield place.source.position(place.start).line, f"{one.code} {one.title}; {labels}; {one.help}"


def _run(test: Filetest, arguments: list[str]) -> None:
    """The reference, O0 and O2 agree, and the reference gives the outputs that the file states."""
    graph = _graph(test)
    values = {x.attr("name"): _value(test, x, i) for i, x in enumerate(graph.leaves)}
    outputs, updates = interpret(graph, values, test.sizes)
    stated = {name: value for (kind, name), value in test.values.items() if kind == "output"}
    for name, value in stated.items():
        _assert_close(test, f"{name} of the reference", np.array(value, outputs[name].dtype), outputs[name])
    for level in arguments or ["O0", "O2"]:
        results = compile_graph(graph, level)(values, test.sizes)
        for found, wanted in zip(results, (outputs, updates), strict=True):
            assert list(found) == list(wanted)
            for name, value in wanted.items():
                _assert_close(test, f"{name} at {level}", value, found[name])


def _value(test: Filetest, leaf: Node, position: int) -> Any:
    name, dtype = leaf.attr("name"), leaf.dtype.numpy
    shape = tuple(evaluate(d, test.sizes) for d in leaf.shape)
    if ("input", name) in test.values:
        value = np.array(test.values["input", name], dtype)
        assert value.shape == shape, f"{test.path.name}: {name} is {list(shape)}, not {list(value.shape)}"
        return value
    rng = np.random.default_rng(position)
    return (rng.uniform(-2, 2, shape) if dtype.kind == "f" else rng.integers(0, 2, shape)).astype(dtype)


def _assert_close(test: Filetest, what: str, wanted: Any, found: Any) -> None:
    if wanted.dtype.kind != "f":
        np.testing.assert_array_equal(found, wanted, err_msg=f"{test.path.name}: {what}")
        return
    tolerance = test.tolerance if test.tolerance is not None else TOLERANCES[f"f{8 * wanted.dtype.itemsize}"]
    np.testing.assert_allclose(found, wanted, tolerance, tolerance, err_msg=f"{test.path.name}: {what}")


COMMANDS: dict[str, Callable[[Filetest, list[str]], str | None]] = {
    "parse": _parse,
    "graph": lambda test, arguments: _finish(test, _graph(test)),
    "gradient": lambda test, arguments: _finish(test, _graph(test, "gradients")),
    "optimise": _optimise,
    "run": _run,
    "errors": _errors,
    "kernels": lambda test, arguments: _inspect(test, "kernels"),
    "memory": lambda test, arguments: _inspect(test, "memory"),
}
