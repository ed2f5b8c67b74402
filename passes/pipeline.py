"""Passes and pipelines: Graph -> Graph, one after the other, verified, timed and traced."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from time import perf_counter
from typing import TypeVar

from graphc.ir.graph import Graph
from graphc.ir.text import print_graph
from graphc.ir.verify import verify as verify_graph
from graphc.passes.bodies import everywhere
from graphc.runtime.errors import InternalError

MAX_REPORT_LINES = 400
T = TypeVar("T")


@dataclass(frozen=True)
class Pass:
    """A named change of a graph that keeps its meaning; "nothing changed" is `run(graph) is graph`."""

    name: str
    run: Callable[[Graph], Graph]
    doc: str

    def __call__(self, graph: Graph) -> Graph:
        return self.run(graph)


def graph_pass(name: str) -> Callable[[Callable[[Graph], Graph]], Pass]:
    """Decorator: makes a function a Pass; its docstring's first line is the pass's description.

    The function sees the graphs of the steps of scans too, before the graph that they are in.
    """

    def decorate(run: Callable[[Graph], Graph]) -> Pass:
        doc = (run.__doc__ or "").strip().partition("\n")[0]
        if not doc:
            raise ValueError(f"pass {name} has no docstring")
        return Pass(name, everywhere(run), doc)

    return decorate


@dataclass(frozen=True)
class PassTrace:
    """What one pass did; `seconds` is its own time without verification."""

    name: str
    before: Graph
    after: Graph
    seconds: float

    @property
    def changed(self) -> bool:
        return self.after is not self.before

    def __str__(self) -> str:
        sizes = f"{len(self.before.nodes())} -> {len(self.after.nodes())} nodes"
        return f"{self.name:24} {1e3 * self.seconds:9.2f} ms  {sizes if self.changed else 'no change'}"


TraceHook = Callable[[PassTrace], None]


@dataclass(frozen=True)
class Pipeline:
    """Passes in order; `str()` is the text that `levels.pipeline` reads back."""

    passes: tuple[Pass, ...]

    def __str__(self) -> str:
        return ",".join(one.name for one in self.passes)

    def run(self, graph: Graph, *, verify: bool = True, trace: TraceHook | None = None) -> Graph:
        """The graph after every pass.

        With `verify` the graph is checked at the start and after each pass that changed it.  `trace` is told of
        every pass.  Raises InternalError, naming the pass and showing the graph before it, when a pass fails or
        breaks an invariant.
        """
        if verify:
            _guard("the input of the pipeline", graph, partial(verify_graph, graph))
        for one in self.passes:
            before, start = graph, perf_counter()
            graph = _guard(f"pass {one.name}", before, partial(one.run, before))
            seconds = perf_counter() - start
            if verify and graph is not before:
                _guard(f"the result of pass {one.name}", before, partial(verify_graph, graph))
            if trace is not None:
                trace(PassTrace(one.name, before, graph, seconds))
        return graph


def parse_pipeline(text: str, passes: Mapping[str, Pass]) -> Pipeline:
    """The pipeline spelled `name,name,...` (spaces allowed, empty: no pass); ValueError for an unknown name."""
    names = text.replace(",", " ").split()
    for name in names:
        if name not in passes:
            raise ValueError(f"there is no pass {name}; the passes are {', '.join(passes)}")
    return Pipeline(tuple(passes[name] for name in names))


def _guard(what: str, before: Graph, step: Callable[[], T]) -> T:
    """The step's result; any exception becomes an InternalError that shows the graph before it."""
    try:
        return step()
    except (MemoryError, InternalError):
        raise
    except Exception as fault:
        lines = print_graph(before).splitlines()
        shown = lines[:MAX_REPORT_LINES]
        more = [f"  ... {len(lines) - len(shown)} more lines"] if len(lines) > len(shown) else []
        report = "\n".join([*shown, *more])
        message = f"{what} failed: {type(fault).__name__}: {fault}\nThe graph before it:\n{report}"
        raise InternalError(message) from fault
