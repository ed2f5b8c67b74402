"""The command `graphc`: arguments -> driver. Only this module and its `cli_*` siblings print or end the process.

Exit codes: 0 good; 1 the user's mistake, reported in words; 70 a bug of graphc, with the command that reproduces it;
130 interrupted.
"""

from __future__ import annotations

import argparse
import os
import shlex
import sys
import warnings
from collections.abc import Callable, Sequence
from typing import NoReturn

import graphc
from graphc import cli_compile, cli_model, cli_train
from graphc.cli_report import BUG, INTERRUPTED, MISTAKE, fail, report_compile_error, report_warning
from graphc.runtime.errors import CompileError, CompileWarning, GraphcError, InternalError

DESCRIPTION = """\
A compiler for neural networks: a model file goes in, native code for its forward pass, its gradients and its training
step comes out."""

EPILOG = """\
examples:
  graphc check digits.gc
  graphc train digits.gc --input image=digits.npz:images --input label=digits.npz:labels --epochs 20 --validation 0.2
  graphc run runs/digits/digits.gca --weights runs/digits/weights.safetensors --input image=digits.npz:images
  graphc show digits.gc --stage backward

`graphc COMMAND --help` says more. Environment: GRAPHC_CACHE=0 compiles anew what was compiled before (GRAPHC_CACHE_DIR
is where that is kept), GRAPHC_THREADS limits threads, NO_COLOR turns colours off, GRAPHC_TRACEBACK=1 shows the Python
traceback of an internal error. Exit status: 0 good, 1 your mistake, 70 a bug of graphc, 130 interrupted."""


REPORT_LINES = 12
"""How much of an internal error is shown at once; it may hold a whole graph."""


class Parser(argparse.ArgumentParser):
    """Help keeps its line ends; a wrong command line ends with status 1 like any other mistake of the user."""

    def __init__(self, **options: object) -> None:
        options.setdefault("formatter_class", argparse.RawDescriptionHelpFormatter)
        super().__init__(**options)  # type: ignore[arg-type]

    def error(self, message: str) -> NoReturn:
        fail(f"{message}\n`{self.prog} --help` says how it is used")
        sys.exit(MISTAKE)


def parser() -> Parser:
    """The whole command line."""
    top = Parser(prog="graphc", description=DESCRIPTION, epilog=EPILOG)
    top.add_argument("--version", action="version", version=f"graphc {graphc.__version__}")
    commands = top.add_subparsers(metavar="COMMAND", required=True, title="commands")
    cli_compile.add_commands(commands)
    cli_train.add_commands(commands)
    cli_model.add_commands(commands)
    return top


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command and returns its exit status."""
    _open_streams()
    words = list(sys.argv[1:] if argv is None else argv)
    arguments = parser().parse_args(words or ["--help"])
    command: Callable[[argparse.Namespace], int] = arguments.command
    as_json = getattr(arguments, "error_format", "text") == "json"
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("always", CompileWarning)
            warnings.showwarning = report_warning
            status = command(arguments)
        sys.stdout.flush()
        return status
    except CompileError as error:
        report_compile_error(error, as_json)
        return MISTAKE
    except InternalError as error:
        return _bug(error, words)
    except GraphcError as error:
        fail(str(error), as_json)
        return MISTAKE
    except BrokenPipeError:  # `graphc show ... | head`: the reader has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 128 + 13
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        fail(f"{where}{error.strerror or error}", as_json)
        return MISTAKE
    except MemoryError:
        fail("the system has no more memory", as_json)
        return MISTAKE
    except KeyboardInterrupt:
        fail("interrupted", as_json)
        return INTERRUPTED
    except Exception as error:  # whatever else escapes is a bug; users get words, not a traceback
        return _bug(error, words)


def _open_streams() -> None:
    """What would go to a stream that was closed (`>&-`), for which Python has None, goes nowhere."""
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, "w"))  # noqa: SIM115  until the process ends


def _bug(error: Exception, words: Sequence[str]) -> int:
    """Says that graphc is at fault, where, and how to show it to its authors."""
    if os.environ.get("GRAPHC_TRACEBACK") == "1":
        import traceback

        traceback.print_exception(error)
    frame = error.__traceback__
    while frame and frame.tb_next:
        frame = frame.tb_next
    place = f" ({os.path.basename(frame.tb_frame.f_code.co_filename)}:{frame.tb_lineno})" if frame else ""
    kind = "" if isinstance(error, InternalError) else f"{type(error).__name__}: "
    lines = str(error).splitlines() or [""]
    lines[0] += place
    if len(lines) > REPORT_LINES:
        lines[REPORT_LINES:] = [f"... {len(lines) - REPORT_LINES} more lines, shown with GRAPHC_TRACEBACK=1"]
    report = "\n".join(lines)
    fail(
        f"internal error: {kind}{report}\n"
        "This is a bug of graphc, not of your file. To show it, send the file together with this command:\n"
        f"  GRAPHC_TRACEBACK=1 graphc {shlex.join(words)}"
    )
    return BUG


if __name__ == "__main__":
    sys.exit(main())
