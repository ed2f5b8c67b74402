"""Who may know whom (docs/architecture.md), and what no module may do; read from the syntax trees."""

from __future__ import annotations

import ast
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

# module prefix -> the graphc modules it may import, besides those below its own prefix. The longest prefix counts.
MAY_IMPORT: dict[str, tuple[str, ...]] = {
    "graphc.source": (),
    "graphc.diagnostics": ("graphc.source",),
    "graphc.runtime": (),
    "graphc.ir": ("graphc.source", "graphc.diagnostics", "graphc.runtime.errors"),
    "graphc.ops": ("graphc.ir",),
    "graphc.autodiff": ("graphc.ops", "graphc.ir"),
    "graphc.program": ("graphc.autodiff", "graphc.ops", "graphc.ir", "graphc.source"),
    "graphc.passes": ("graphc.autodiff", "graphc.ops", "graphc.ir", "graphc.runtime.errors"),
    "graphc.frontend": (
        "graphc.cache",  # of the parser's tables
        "graphc.program",
        "graphc.autodiff",
        "graphc.ops",
        "graphc.ir",
        "graphc.source",
        "graphc.diagnostics",
        "graphc.runtime.errors",
    ),
    "graphc.codegen": ("graphc.program", "graphc.ops", "graphc.ir", "graphc.runtime.errors"),
    "graphc.linking": ("graphc.runtime.elf", "graphc.runtime.errors"),
    "graphc.c_api": ("graphc.codegen", "graphc.runtime"),
    "graphc.pictures": ("graphc.runtime.errors",),
    "graphc.panels": ("graphc.pictures", "graphc.runtime.errors"),
    "graphc.tiles": ("graphc.panels", "graphc.pictures"),
    "graphc.mnist": ("graphc.runtime.data", "graphc.runtime.errors"),
    "graphc.run_folder": ("graphc.pictures", "graphc.ir", "graphc.runtime"),
    "graphc.graph_function": ("graphc",),  # like the driver, for one graph instead of a file
    "graphc.signature": ("graphc.codegen", "graphc.program", "graphc.ir", "graphc.runtime"),
    "graphc.support": ("graphc.cache", "graphc.cache_key", "graphc.codegen"),
    "graphc.compilation": (
        "graphc.diagnostics",
        "graphc.signature",
        "graphc.support",
        "graphc.linking",
        "graphc.c_api",
        "graphc.codegen",
        "graphc.passes",
        "graphc.program",
        "graphc.ir",
        "graphc.runtime",
    ),
    "graphc.non_finite": ("graphc.program", "graphc.ops", "graphc.ir", "graphc.source"),
    "graphc.kernel_times": (
        "graphc.compilation",
        "graphc.signature",
        "graphc.linking",
        "graphc.codegen",
        "graphc.ir",
        "graphc.runtime",
    ),
    "graphc.inspection": ("graphc",),  # every stage as text: a part of the driver
    "graphc.cache": ("graphc.runtime",),
    "graphc.cache_key": ("graphc.source", "graphc.runtime"),
    "graphc.collector": (),
    "graphc.compiler": ("graphc",),  # the part of the driver that needs the compiler
    "graphc.driver": ("graphc",),
    "graphc.cli": ("graphc",),
    "graphc.__main__": ("graphc.cli",),
    "graphc": ("graphc",),  # the package itself: lazy public names
}

# what the runtime may import from outside, and which modules may import it only inside a function
OUTSIDE_OF_RUNTIME = {"numpy"}
LAZY_IN_RUNTIME = {"tqdm"}


def modules() -> Iterator[tuple[str, Path]]:
    for folder, folders, files in os.walk(ROOT / "graphc", followlinks=True):
        folders[:] = sorted(name for name in folders if name != "__pycache__")
        for name in sorted(files):
            if name.endswith(".py"):
                path = Path(folder) / name
                parts = path.relative_to(ROOT).with_suffix("").parts
                yield ".".join(parts[:-1] if parts[-1] == "__init__" else parts), path


MODULES = dict(modules())


def imports(module: str) -> Iterator[tuple[str, bool]]:
    """Every module that `module` imports, and whether only when a function runs; type-only imports count too."""
    tree = ast.parse(MODULES[module].read_text())
    inside = {
        id(x) for f in ast.walk(tree) if isinstance(f, ast.FunctionDef | ast.AsyncFunctionDef) for x in ast.walk(f)
    }
    type_only = {
        id(x)
        for branch in ast.walk(tree)
        if isinstance(branch, ast.If) and ast.unparse(branch.test) == "TYPE_CHECKING"
        for x in ast.walk(branch)
    }
    for node in ast.walk(tree):
        is_lazy = id(node) in inside or id(node) in type_only
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.name, is_lazy
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module} imports relatively; write the full name"
            for alias in node.names:
                full = f"{node.module}.{alias.name}"
                yield (full if full in MODULES else str(node.module)), is_lazy


def is_under(module: str, prefix: str) -> bool:
    return module == prefix or module.startswith(prefix + ".")


def layer_of(module: str) -> str:
    prefixes = [
        p for p in MAY_IMPORT if is_under(module, p) or (p == "graphc.cli" and module.startswith("graphc.cli_"))
    ]
    return max(prefixes, key=len)


@pytest.mark.parametrize("module", MODULES)
def test_layering(module: str) -> None:
    layer = layer_of(module)
    assert layer != "graphc" or module == "graphc", f"{module} belongs to no layer of this test"
    allowed = (layer, *MAY_IMPORT[layer])
    wrong = [
        name
        for name, _ in imports(module)
        if name.startswith("graphc.") and not any(is_under(name, prefix) for prefix in allowed)
    ]
    assert wrong == []


@pytest.mark.parametrize("module", [name for name in MODULES if is_under(name, "graphc.runtime")])
def test_runtime_needs_only_numpy_and_the_standard_library(module: str) -> None:
    wrong = []
    for name, is_lazy in imports(module):
        top = name.partition(".")[0]
        if top in sys.stdlib_module_names or top in {"graphc", *OUTSIDE_OF_RUNTIME}:
            continue
        if top not in LAZY_IN_RUNTIME or not is_lazy:
            wrong.append(name)
    assert wrong == []


def test_llvm_stays_where_it_belongs() -> None:
    """llvmlite.ir nowhere (IR is text of our own), llvmlite.binding only in codegen."""
    users = {m: [n for n, _ in imports(m) if n.partition(".")[0] == "llvmlite"] for m in MODULES}
    assert [
        m for m, names in users.items() if any(n in ("llvmlite", "llvmlite.ir") for n in names) and _uses_ir(m)
    ] == []
    assert {m for m, names in users.items() if names and not is_under(m, "graphc.codegen")} == set()


def _uses_ir(module: str) -> bool:
    tree = ast.parse(MODULES[module].read_text())
    named = [
        a.name for x in ast.walk(tree) if isinstance(x, ast.ImportFrom) and x.module == "llvmlite" for a in x.names
    ]
    whole = [a.name for x in ast.walk(tree) if isinstance(x, ast.Import) for a in x.names]
    return "ir" in named or "llvmlite.ir" in whole


FORBIDDEN_MODULES = {"pickle", "marshal", "shelve", "dill", "cloudpickle", "yaml", "imp"}
FORBIDDEN_CALLS = {"eval", "exec", "compile", "__import__"}


FILES = sorted(
    path
    for top in ("graphc", "frontend", "passes", "runtime", "packaging", "tests", "examples")
    for path in (ROOT / top).rglob("*.py")
)


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_nothing_that_runs_data(path: Path) -> None:
    """No pickle, marshal, eval, exec, compile or __import__, no allow_pickle=True, anywhere: data files run nothing."""
    wrong = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        names += [str(node.module)] if isinstance(node, ast.ImportFrom) else []
        wrong += [name for name in names if name.partition(".")[0] in FORBIDDEN_MODULES]
        if isinstance(node, ast.Call):
            if isinstance(node.func, ast.Name) and node.func.id in FORBIDDEN_CALLS:
                wrong.append(f"{node.func.id}, line {node.lineno}")
            for keyword in node.keywords:
                value = keyword.value
                if keyword.arg == "allow_pickle" and not (isinstance(value, ast.Constant) and value.value is False):
                    wrong.append(f"allow_pickle, line {node.lineno}")
    assert wrong == []


SPEAKERS = ("graphc.cli", "graphc.__main__", "graphc.runtime.progress")  # the last shows how training goes


@pytest.mark.parametrize("module", [name for name in MODULES if not name.startswith(SPEAKERS)])
def test_only_the_command_line_prints_or_exits(module: str) -> None:
    wrong = []
    for node in ast.walk(ast.parse(MODULES[module].read_text())):
        if isinstance(node, ast.Call):
            called = ast.unparse(node.func)
            if called in ("print", "exit", "quit", "sys.exit", "os._exit", "sys.stdout.write", "sys.stderr.write"):
                wrong.append(f"{called}, line {node.lineno}")
    assert wrong == []


@pytest.mark.parametrize("module", [m for m in MODULES if is_under(m, "graphc.runtime") or m.startswith("graphc.cli")])
def test_what_users_give_is_never_checked_by_assert(module: str) -> None:
    """`python -O` removes asserts; where users' values arrive, every check is an exception with words."""
    tree = ast.parse(MODULES[module].read_text())
    assert [node.lineno for node in ast.walk(tree) if isinstance(node, ast.Assert)] == []


def test_files_stay_small() -> None:
    """No module past 500 lines: a file has one purpose."""
    long = {m: n for m, path in MODULES.items() if (n := path.read_text().count("\n")) > 500}
    assert long == {}
