"""One program on its way to native code: every stage is computed once, when it is first asked for."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from graphc.c_api.header import header
from graphc.c_api.layout import Layout
from graphc.c_api.library import library_text
from graphc.codegen.call_path import SYMBOL as CALL
from graphc.codegen.draws import SYMBOL as DRAW
from graphc.codegen.entry import EntryCode, emit_entry, plan_entry
from graphc.codegen.epoch import SYMBOL as EPOCH
from graphc.codegen.index_bounds import IndexBound, index_bounds
from graphc.codegen.llvm import Module, assembly, compile_object
from graphc.codegen.target import Target
from graphc.diagnostics import Diagnostic
from graphc.ir.graph import Graph
from graphc.linking.link import link
from graphc.passes import levels
from graphc.passes.pipeline import PassTrace, Pipeline
from graphc.program import ENTRIES, Program
from graphc.runtime.artifact import Build
from graphc.runtime.signature import Signature
from graphc.signature import signature_of
from graphc.support import support_object


@dataclass(frozen=True)
class Options:
    """What a user may choose: the target, the passes (a level or names), whether to verify after each pass."""

    target: Target
    passes: str = "O2"
    verify: bool = False
    trace: Callable[[str, PassTrace], None] | None = field(default=None, compare=False)


class Compilation:
    """The stages of one program: graphs -> optimised graphs -> kernels and memory -> LLVM IR -> object code."""

    def __init__(
        self, program: Program, source_hash: str, options: Options, warnings: Sequence[Diagnostic] = ()
    ) -> None:
        self.program, self.source_hash, self.options, self.warnings = program, source_hash, options, warnings

    @property
    def pipeline(self) -> Pipeline:
        return levels.pipeline(self.options.passes)

    @cached_property
    def optimised(self) -> dict[str, Graph]:
        """Entry name -> its graph after the passes."""
        return {name: self._optimise(name, graph) for name, graph in self.program.entries.items()}

    def _optimise(self, name: str, graph: Graph) -> Graph:
        hook = self.options.trace
        trace = (lambda t: hook(name, t)) if hook is not None else None
        return self.pipeline.run(graph, verify=self.options.verify, trace=trace)

    @cached_property
    def entries(self) -> dict[str, EntryCode]:
        """Entry name -> its kernels in order and its memory plan."""
        return {
            name: plan_entry(f"graphc_{name}", graph, self.options.target, self._bounds(name))
            for name, graph in self.optimised.items()
        }

    def _bounds(self, entry: str) -> tuple[IndexBound, ...]:
        return tuple(index_bounds(self.program.entries[entry]))

    def _module(self, alone: bool = True) -> Module:
        """A module with the entries; one that is not `alone` is linked with what all models have in common."""
        module = Module(self.options.target, alone)
        for name, code in self.entries.items():
            emit_entry(code, module, self.program.symbols, ENTRIES.index(name))
        return module

    @cached_property
    def llvm(self) -> str:
        """The model's own module as LLVM IR text."""
        return self._module(alone=False).text()

    @cached_property
    def object_code(self) -> bytes:
        return compile_object(self.llvm, self.options.target)

    @cached_property
    def assembly(self) -> str:
        return assembly(self.llvm, self.options.target)

    @cached_property
    def image(self) -> bytes:
        """The object code as a shared object, with what all models have in common."""
        return link(self.object_code, support_object(self.options.target))

    @cached_property
    def signature(self) -> Signature:
        """What the runtime has to know of the code."""
        epoch = EPOCH if "step" in self.entries else None
        return signature_of(self.program, self.entries, self.options.target, self.source_hash, epoch, CALL, DRAW)

    @cached_property
    def build(self) -> Build:
        """What the runtime needs of this compilation."""
        return Build(self.signature, self.image)

    # ---- for C

    @cached_property
    def c_header(self) -> str:
        """The header of the library for C."""
        return header(Layout(self.signature))

    @cached_property
    def c_object(self) -> bytes:
        """The library for C as a relocatable object file."""
        text = library_text(self._module(), Layout(self.signature))
        return compile_object(text, self.options.target)

    def c_library(self, name: str) -> bytes:
        """The library for C as a shared object that is called `name`."""
        return link(self.c_object, name=name)
