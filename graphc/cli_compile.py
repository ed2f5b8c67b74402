"""The commands about model files: compile, check, show, explain."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from graphc.cli_report import MISTAKE, report_diagnostics, say
from graphc.runtime.durable import write_durably
from graphc.runtime.errors import OptionError, counted

Commands = Any  # argparse gives its subparsers no public type

STAGES = ("ast", "graph", "backward", "optimised", "passes", "kernels", "llvm", "asm", "memory", "fusion")
DRAWN = ("graph", "backward", "optimised")
LEGIBLE = 400  # nodes of a graph: the letters of a PNG with more are too small to read
EMITTED = ("ast", "graph", "backward", "optimised", "kernels", "llvm", "asm")
FOR_C = ("shared", "header", "object", "flat")


def add_commands(commands: Commands) -> None:
    """Declares the four commands."""
    _add_compile(commands)
    _add_check(commands)
    _add_show(commands)
    _add_explain(commands)


def add_compile_options(command: argparse.ArgumentParser) -> None:
    """The options of every command that compiles a model file."""
    group = command.add_argument_group("how it is compiled")
    group.add_argument("--model", metavar="NAME", help="the model to compile, when the file has several")
    group.add_argument(
        "--dim", metavar="B=32", action="append", default=[], type=dimension, help="pin a dimension (repeatable)"
    )
    group.add_argument(
        "--target",
        default="native",
        metavar="CPU[,CPU]",
        help="native (default), x86-64-v3, x86-64-v4, aarch64, generic; an artifact may hold several",
    )
    group.add_argument(
        "-O",
        dest="optimize",
        type=int,
        choices=(0, 1, 2),
        default=2,
        help="0 nothing, 1 simplify, 2 fuse too (default)",
    )
    group.add_argument("--passes", metavar="P,Q", help="run exactly these passes instead of those of the level")
    add_error_format(command)


def add_error_format(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--error-format", choices=("text", "json"), default="text", help="json: one object a line on standard output"
    )


def compile_options(arguments: argparse.Namespace) -> dict[str, Any]:
    """The keyword arguments of the driver for the options of `add_compile_options`."""
    return {
        "dims": dict(arguments.dim),
        "model": arguments.model,
        "optimize": arguments.optimize,
        "target": arguments.target,
        "passes": arguments.passes.split(",") if arguments.passes else None,
    }


def chosen_options(arguments: argparse.Namespace) -> list[str]:
    """Which options of `add_compile_options` differ from their defaults, as they are written."""
    values: dict[str, tuple[object, object]] = {
        "--model": (arguments.model, None),
        "--dim": (arguments.dim, []),
        "--target": (arguments.target, "native"),
        "-O": (arguments.optimize, 2),
        "--passes": (arguments.passes, None),
    }
    return [option for option, (value, default) in values.items() if value != default]


def dimension(text: str) -> tuple[str, int]:
    """`B=32` as ("B", 32)."""
    name, equals, value = text.partition("=")
    if not (equals and name.isidentifier() and value.isascii() and value.isdigit() and len(value) < 19):
        raise argparse.ArgumentTypeError(f"`{text}` is not NAME=SIZE, such as B=32")
    return name, int(value)


def _add_compile(commands: Commands) -> None:
    command = commands.add_parser(
        "compile",
        help="compile a model file to an artifact",
        description=(
            "Compiles a model file to an artifact (.gca): native code that runs without the compiler.\n"
            "With --emit to a library for C: header digits.h, shared libdigits.so, object digits.o for\n"
            "static linking, flat digits.flat with the first values of seed 0; docs/embedding.md says how to use them."
        ),
        epilog=(
            "example:\n  graphc compile digits.gc -o digits.gca\n"
            "  graphc compile digits.gc --target x86-64-v3,x86-64-v4\n"
            "  graphc compile digits.gc --emit shared,header -o build/\n  graphc compile digits.gc --emit llvm | less"
        ),
    )
    command.add_argument("file", metavar="FILE.gc")
    command.add_argument(
        "-o", "--output", metavar="FILE", help="default: the file's name with .gca, here; a folder for C"
    )
    command.add_argument(
        "--emit",
        metavar="STAGE",
        type=emitted,
        default=(),
        help=f"print a stage instead: {', '.join(EMITTED)}; or write files for C: some of {','.join(FOR_C)}",
    )
    add_compile_options(command)
    command.set_defaults(command=run_compile)


def emitted(text: str) -> tuple[str, ...]:
    """One stage, or several products for C."""
    words = tuple(text.split(","))
    if not (len(words) == 1 and words[0] in EMITTED) and not all(word in FOR_C for word in words):
        stages, products = ", ".join(EMITTED), ",".join(FOR_C)
        raise argparse.ArgumentTypeError(f"`{text}` is none of {stages}, and not some of {products}")
    return words


def run_compile(arguments: argparse.Namespace) -> int:
    from graphc import driver

    options = compile_options(arguments)
    if arguments.emit and arguments.emit[0] in EMITTED:
        write_text(driver.stage_text(arguments.file, arguments.emit[0], **options), arguments.output)
        return 0
    if arguments.emit:
        return _write_for_c(driver.compile_for_c(arguments.file, arguments.emit, **options), arguments.output)
    output = Path(arguments.output or Path(arguments.file).stem + ".gca")
    _need_folder(output, output.parent)
    driver.compile_artifact(arguments.file, **options).save(output)
    say(f"wrote {output} ({size_text(output.stat().st_size)})")
    return 0


def _write_for_c(files: dict[str, bytes], output: str | None) -> int:
    """Into the folder `output`, which is made if it is not there; a single one also into the file `output`."""
    folder = Path(output or ".")
    if len(files) == 1 and output and not output.endswith("/") and not folder.is_dir():
        files, folder = {folder.name: next(iter(files.values()))}, folder.parent
        _need_folder(folder / next(iter(files)), folder)
    _need_folder(folder, folder.parent)
    folder.mkdir(exist_ok=True)
    for name, data in files.items():
        write_durably(folder / name, data)
        say(f"wrote {folder / name} ({size_text(len(data))})")
    return 0


def _need_folder(output: Path, folder: Path) -> None:
    if not folder.is_dir():
        raise OptionError(f"cannot write {output}: there is no folder {folder}")


def size_text(size: int) -> str:
    """A number of bytes for people: 812 B, 43.1 kB, 1.2 MB."""
    if size < 1000:
        return f"{size} B"
    return f"{size / 1e3:.1f} kB" if size < 1e6 else f"{size / 1e6:.1f} MB"


def write_text(text: str, output: str | None) -> None:
    """To a file, or to standard output with a line end."""
    text = text.rstrip("\n") + "\n"
    if output:
        Path(output).write_text(text, encoding="utf-8")
        say(f"wrote {output}")
    else:
        sys.stdout.write(text)


def _add_check(commands: Commands) -> None:
    command = commands.add_parser(
        "check",
        help="report every error of model files",
        description="Reports every error of the given model files; builds nothing.",
        epilog="example:\n  graphc check digits.gc other.gc\n  graphc check --error-format json digits.gc",
    )
    command.add_argument("files", metavar="FILE.gc", nargs="+")
    add_error_format(command)
    command.set_defaults(command=run_check)


def run_check(arguments: argparse.Namespace) -> int:
    from graphc import driver
    from graphc.diagnostics import has_errors

    found = [diagnostic for file in arguments.files for diagnostic in driver.check(file)]
    as_json = arguments.error_format == "json"
    report_diagnostics(found, as_json)
    if not as_json:
        kinds = [one.severity for one in {(d.code, str(d.span)): d for d in found}.values()]
        errors, warnings = kinds.count("error"), kinds.count("warning")
        end = f"{counted(len(arguments.files), 'file')} checked, {counted(errors, 'error') if errors else 'no errors'}"
        say(("\n" if found else "") + end + (f", {counted(warnings, 'warning')}" if warnings else ""))
    return MISTAKE if has_errors(found) else 0


def _add_show(commands: Commands) -> None:
    command = commands.add_parser(
        "show",
        help="print or draw a stage of the compilation",
        description=(
            "Prints what the compiler makes of a model file at one stage of its road:\n"
            "  ast        the syntax tree\n"
            "  graph      the dataflow graph as built\n"
            "  backward   the graph with its symbolic gradients\n"
            "  optimised  the graph after all passes\n"
            "  passes     what each pass did, and how long it took\n"
            "  kernels    the loop nests it becomes\n"
            "  llvm, asm  LLVM IR, and assembly of the target\n"
            "  memory     the plan of the scratch memory\n"
            "  fusion     what was fused, and why the rest was not\n"
            "The stages graph, backward and optimised can be drawn.  before:PASS and after:PASS\n"
            "print the graph around a pass, such as after:fuse-epilogue."
        ),
        epilog=(
            "example:\n  graphc show digits.gc --stage backward\n"
            "  graphc show digits.gc --stage optimised --format svg -o digits.svg"
        ),
    )
    command.add_argument("file", metavar="FILE.gc")
    command.add_argument("--stage", metavar="STAGE", type=stage_name, default="graph", help="default: graph")
    command.add_argument("--format", choices=("text", "dot", "svg", "png"), default="text", help="default: text")
    command.add_argument(
        "--entry",
        choices=("forward", "step", "evaluate", "gradients", "apply"),
        help="default: forward for graph, gradients for backward, else step",
    )
    command.add_argument("-o", "--output", metavar="FILE", help="default: standard output")
    add_compile_options(command)
    command.set_defaults(command=run_show)


def stage_name(text: str) -> str:
    """A stage, or `before:PASS`, `after:PASS`."""
    if text not in STAGES and not text.startswith(("before:", "after:")):
        raise argparse.ArgumentTypeError(f"`{text}` is none of {', '.join(STAGES)}, before:PASS, after:PASS")
    return text


def run_show(arguments: argparse.Namespace) -> int:
    from graphc import driver

    options = compile_options(arguments)
    if arguments.format == "text":
        write_text(
            driver.stage_text(arguments.file, arguments.stage, entry=arguments.entry, **options), arguments.output
        )
        return 0
    if arguments.stage not in DRAWN:
        raise OptionError(f"the stage `{arguments.stage}` is text only; {', '.join(DRAWN)} can be drawn")
    if arguments.format == "png" and not arguments.output and sys.stdout.isatty():
        raise OptionError("a PNG is not for a terminal: name a file with -o")
    graph = driver.stage_graph(arguments.file, arguments.stage, entry=arguments.entry, **options)
    from graphc.ir.view import picture, to_dot

    if arguments.format == "dot":
        write_text(to_dot(graph), arguments.output)
        return 0
    image = picture(graph, arguments.format)
    if arguments.output:
        Path(arguments.output).write_bytes(image)
        say(f"wrote {arguments.output} ({size_text(len(image))})")
        nodes = sum(1 for _ in graph.nodes())
        if arguments.format == "png" and nodes > LEGIBLE:
            say(f"its letters are small, as the graph has {nodes:,} nodes: --format svg can be enlarged")
    else:
        sys.stdout.buffer.write(image)
    return 0


def _add_explain(commands: Commands) -> None:
    command = commands.add_parser(
        "explain",
        help="what an error means, with an example",
        description="Says what an error code means, with a wrong model file and the corrected one.",
        epilog="example:\n  graphc explain GC0201\n  graphc explain          lists all codes",
    )
    command.add_argument("code", metavar="CODE", nargs="?", help="such as GC0201; without it all codes are listed")
    command.set_defaults(command=run_explain)


def run_explain(arguments: argparse.Namespace) -> int:
    from graphc.frontend.codes import CHAPTERS, explain

    if not arguments.code:
        for title, entries in CHAPTERS:
            sys.stdout.write(f"{title}\n" + "".join(f"  {entry.code}  {entry.title}\n" for entry in entries))
        return 0
    text = explain(arguments.code)
    if text is None:
        raise OptionError(f"there is no error code `{arguments.code}`; `graphc explain` lists all codes")
    sys.stdout.write(text)
    return 0
