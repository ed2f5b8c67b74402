"""Modules: which declaration a name of a file means, and the files it uses.

`std.NAME` is text shipped with the compiler. Other files are named relative to the file that uses them and are read
through the caller's `load`. But for the parser's tables (tables.py) that is all input and output of the frontend.
"""

from __future__ import annotations

import posixpath
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from graphc.diagnostics import Diagnostic, Label
from graphc.frontend import syntax as s
from graphc.frontend.limits import Limits
from graphc.frontend.parser import parse
from graphc.frontend.scope import nearest
from graphc.frontend.standard import STANDARD, Declaration, standard
from graphc.runtime.errors import CompileError
from graphc.source import Source, Span

Load = Callable[[str], Source]


@dataclass(slots=True, eq=False)
class ModuleScope:
    """A file: its tree and what its names mean. `modules` are the used files by their alias."""

    source: Source
    tree: s.Module
    declarations: Mapping[str, Declaration]
    is_standard: bool = False
    imported: dict[str, tuple[Declaration, ModuleScope]] = field(default_factory=dict)
    modules: dict[str, ModuleScope] = field(default_factory=dict)
    dims: dict[str, s.Dimension] = field(default_factory=dict)
    models: list[s.Block] = field(default_factory=list)
    trains: dict[str, s.Train] = field(default_factory=dict)
    precisions: list[s.Precision] = field(default_factory=list)
    broken: dict[str, Span] = field(default_factory=dict)  # names whose `use` failed

    def find(self, name: str) -> tuple[Declaration, ModuleScope] | None:
        """The declaration a name means in this file, and the file it is written in."""
        own = self.declarations.get(name)
        return (own, self) if own is not None else self.imported.get(name)

    def names(self) -> list[str]:
        """Every name of the file, for suggestions."""
        return [*self.declarations, *self.imported, *self.modules]


class Resolver:
    """Loads and links files; every file is read once. `diagnostics` collects what is wrong."""

    def __init__(self, load: Load, limits: Limits) -> None:
        self.load = load
        self.limits = limits
        self.diagnostics: list[Diagnostic] = []
        self._scopes: dict[str, ModuleScope] = {}
        self._active: list[str] = []

    def main(self, source: Source) -> ModuleScope | None:
        """The scope of the file that is compiled; None if it does not parse."""
        return self._module(posixpath.normpath(source.name) if source.name else "", source, None)

    def standard(self, name: str) -> ModuleScope:
        """The scope of a file of the standard library."""
        key = f"std.{name}"
        if key not in self._scopes:
            found = standard(name)
            head = s.Module(found.source.span(0, 0), found.source, (), "")  # what it declares is parsed when it is used
            self._scopes[key] = ModuleScope(found.source, head, found, is_standard=True)
        return self._scopes[key]

    def _error(
        self, code: str, title: str, span: Span, text: str = "", help: str = "", also: tuple[Label, ...] = ()
    ) -> None:
        self.diagnostics.append(Diagnostic(code, title, (Label(span, text), *also), help))

    def _module(self, key: str, source: Source, use: Span | None) -> ModuleScope | None:
        tree, diagnostics = parse(source, self.limits)
        self.diagnostics.extend(diagnostics)
        if tree is None:
            return None
        own: dict[str, Declaration] = {}
        scope = ModuleScope(tree.source, tree, own)
        self._scopes[key] = scope
        self._active.append(key)
        self._declare(scope, own)
        self._active.pop()
        return scope

    def _declare(self, scope: ModuleScope, own: dict[str, Declaration]) -> None:
        """Notes every declaration of the file, those that have a name for others to use in `own`."""
        seen: dict[str, Span] = {}
        for one in scope.tree.declarations:
            match one:
                case s.Use():
                    self._use(scope, one, seen)
                case s.Dimension():
                    if self._is_new(one.name, seen):
                        scope.dims[one.name.name] = one
                case s.Precision():
                    scope.precisions.append(one)
                case s.Train():
                    self._train(scope, one)
                case s.Block() if one.is_model:
                    if self._is_new(one.name, seen):
                        scope.models.append(one)
                case s.Block() | s.Constant() | s.Optimizer():
                    if self._is_new(one.name, seen):
                        own[one.name.name] = one

    def _is_new(self, name: s.Identifier, seen: dict[str, Span]) -> bool:
        before = seen.setdefault(name.name, name.span)
        if before is name.span:
            return True
        title = f"`{name.name}` is declared twice"
        self._error("GC0103", title, name.span, "again", also=(Label(before, "first declared here"),))
        return False

    def _train(self, scope: ModuleScope, one: s.Train) -> None:
        name = one.model.name
        if name in scope.trains:
            before = Label(scope.trains[name].model.span, "the first")
            self._error("GC0103", f"a second `train {name}`", one.model.span, also=(before,))
        else:
            scope.trains[name] = one

    def _use(self, scope: ModuleScope, use: s.Use, seen: dict[str, Span]) -> None:
        names = [*use.names, *([use.alias] if use.alias else [])]
        module = self._used_module(scope, use)
        for name in names:
            if not self._is_new(name, seen):
                continue
            if module is None:
                scope.broken[name.name] = name.span
            elif name is use.alias:
                scope.modules[name.name] = module
            else:
                self._import(scope, module, name)

    def _import(self, scope: ModuleScope, module: ModuleScope, name: s.Identifier) -> None:
        found = module.find(name.name)
        if found is not None:
            scope.imported[name.name] = found
            return
        scope.broken[name.name] = name.span
        where = module.source.name
        help = nearest(name.name, module.declarations)
        self._error("GC0105", f"{where} has no `{name.name}`", name.span, help=help)

    def _used_module(self, scope: ModuleScope, use: s.Use) -> ModuleScope | None:
        if isinstance(use.module, s.Path):
            parts = [part.name for part in use.module.parts]
            if len(parts) == 2 and parts[0] == "std" and parts[1] in STANDARD:
                return self.standard(parts[1])
            known = ", ".join(f"std.{name}" for name in STANDARD)
            help = f'there are {known}; other files are used by their path: use "./file.gc" as name'
            self._error("GC0105", f"no module `{use.module}`", use.module.span, help=help)
            return None
        return self._file(scope, use.module)

    def _file(self, scope: ModuleScope, name: s.Text) -> ModuleScope | None:
        text = name.value
        if not text.startswith(("./", "../")) or not text.endswith(".gc") or "\\" in text:
            help = 'a relative path that begins with ./ or ../ and ends in .gc: use "./common.gc" as common'
            self._error("GC0105", f'"{text}" is not a path of a model file', name.span, help=help)
            return None
        path = posixpath.normpath(posixpath.join(posixpath.dirname(scope.source.name), text))
        if path in self._active:
            cycle = " -> ".join([*self._active[self._active.index(path) :], path])
            self._error("GC0106", f"files use each other in a circle: {cycle}", name.span)
            return None
        if path in self._scopes:
            return self._scopes[path]
        if len(self._active) >= self.limits.nesting // 2:
            self._error("GC0802", "files use each other too deeply", name.span)
            return None
        try:
            source = self.load(path)
        except CompileError as error:
            self.diagnostics.extend(one for one in error.diagnostics if isinstance(one, Diagnostic))
            return None
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
            self._error("GC0105", f'cannot read "{text}": {reason}', name.span)
            return None
        return self._module(path, Source(path, source.text), name.span)
