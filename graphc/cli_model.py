"""The commands that run compiled models (run, bench), and what `train` shares with them."""

from __future__ import annotations

import argparse
import sys
import time
import zipfile
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from graphc.cli_compile import Commands, add_compile_options, chosen_options, compile_options
from graphc.cli_report import say
from graphc.runtime.errors import OptionError, counted

if TYPE_CHECKING:
    from graphc.runtime.model import Model
    from graphc.runtime.threads import Runs

SPECS = """\
data files, checked against the model's types before anything runs:
  x.npy                a NumPy array
  x.npz:key            one array of an archive
  x.csv:a,b            columns of a table by their names in its first row
  images-idx3-ubyte    IDX as MNIST comes, .gz too
  x.safetensors:key    one tensor"""


def add_commands(commands: Commands) -> None:
    """Declares the two commands."""
    _add_run(commands)
    _add_bench(commands)


def named_file(text: str) -> tuple[str, str]:
    """`image=x.npy` as ("image", "x.npy")."""
    name, equals, spec = text.partition("=")
    if not (equals and name and spec):
        raise argparse.ArgumentTypeError(f"`{text}` is not NAME=FILE, such as image=x.npy")
    return name, spec


def read_inputs(model: Model, pairs: Sequence[tuple[str, str]]) -> dict[str, Any]:
    """Input name -> array, in the dtype of the model's input where that keeps every value.

    Raises OptionError for a name that is no input or is given twice, DataError for a file that does not serve.
    """
    from graphc.runtime.data import read

    dtypes = {leaf.name: leaf.dtype for leaf in model.signature.with_role("input")}
    inputs: dict[str, Any] = {}
    for name, spec in pairs:
        if name not in dtypes:
            raise OptionError(f"{model.name} has no input `{name}`; its inputs are {', '.join(dtypes)}")
        if name in inputs:
            raise OptionError(f"the input `{name}` is given twice")
        inputs[name] = read(spec, dtypes[name])
    return inputs


def add_inputs(command: argparse.ArgumentParser) -> None:
    """The option for the data files."""
    command.add_argument(
        "--input",
        metavar="NAME=FILE",
        action="append",
        default=[],
        type=named_file,
        help="data of an input (repeatable)",
    )


def add_threads(command: argparse.ArgumentParser) -> None:
    """The option for the number of threads."""
    command.add_argument(
        "--threads", type=int, metavar="N", help="threads of the compiled code (default: the CPUs it may use)"
    )


def summary(model: Model) -> str:
    """One line about a model: its inputs and how many parameters it has."""
    from graphc.runtime.buffers import describe

    count = sum(array.size for array in model.params.values())
    inputs = ", ".join(f"{leaf.name}: {describe(leaf)}" for leaf in model.signature.with_role("input"))
    size = f"{counted(count, 'parameter')} in {counted(len(model.params), 'tensor')}" if count else "no parameters"
    return f"{model.name}({inputs}), {size}"


def _add_run(commands: Commands) -> None:
    command = commands.add_parser(
        "run",
        help="run a compiled model on data files",
        description=(
            "Runs the forward pass of an artifact (or of a model file, which is compiled first) on data files\n"
            "and prints its outputs, or writes them with --out."
        ),
        epilog=(
            f"{SPECS}\n\nexample:\n"
            "  graphc run runs/digits/digits.gca --weights runs/digits/weights.safetensors \\\n"
            "      --input image=digits.npz:images --out answers.npz"
        ),
    )
    command.add_argument("file", metavar="FILE", help="an artifact .gca, or a model file .gc")
    command.add_argument("--weights", metavar="W.safetensors", help="parameters, as `graphc train` writes them")
    add_inputs(command)
    command.add_argument("--out", metavar="FILE.npz", help="write every output into this archive instead of printing")
    add_threads(command)
    add_compile_options(command)
    command.set_defaults(command=run_run)


def run_run(arguments: argparse.Namespace) -> int:
    import numpy as np

    if arguments.out and not arguments.out.endswith(".npz"):
        raise OptionError(f"--out {arguments.out}: outputs are written as an archive, FILE.npz")
    model = load_or_compile(arguments)
    inputs = read_inputs(model, arguments.input)
    if arguments.weights:
        model.load_weights(arguments.weights)
    else:
        model.init(seed=0)
        if model.params:
            say("no --weights given: the parameters have their initial values (seed 0)")
    outputs = model(**inputs)
    if arguments.out:
        save_archive(arguments.out, outputs)
        say(f"wrote {arguments.out}: " + ", ".join(f"{n} {_type_text(a)}" for n, a in outputs.items()))
        return 0
    with np.printoptions(precision=6, suppress=True, threshold=200, edgeitems=4, linewidth=110):
        for name, array in outputs.items():
            sys.stdout.write(f"{name}: {_type_text(array)}\n{array}\n")
    return 0


def save_archive(path: str, arrays: Mapping[str, Any]) -> None:
    """A .npz file; an output may have any name, also one that is an argument of np.savez."""
    import numpy as np

    with zipfile.ZipFile(path, "w") as archive:
        for name, array in arrays.items():
            with archive.open(f"{name}.npy", "w") as member:
                np.lib.format.write_array(member, np.asarray(array), allow_pickle=False)


def load_or_compile(arguments: argparse.Namespace) -> Model:
    """The model of an artifact, or of a model file compiled with the command's options."""
    if not arguments.file.endswith(".gc"):
        from graphc.runtime.model import load

        given = chosen_options(arguments)
        if given and arguments.file.endswith(".gca"):
            raise OptionError(f"{arguments.file} is compiled already: {', '.join(given)} would change nothing")
        return load(arguments.file, threads=arguments.threads)
    from graphc import driver

    return driver.compile_file(arguments.file, threads=arguments.threads, **compile_options(arguments))


def _type_text(array: Any) -> str:
    return f"{array.dtype}[{', '.join(map(str, array.shape))}]"


def _add_bench(commands: Commands) -> None:
    command = commands.add_parser(
        "bench",
        help="time the entries of a model on this machine",
        description=(
            "Times every entry of a model (forward, step, evaluate, gradients) on made-up data, as whole calls from\n"
            "Python. Then, of a model file, the kernels of the step (or of forward) on one thread, the longest first:\n"
            "operations and bytes (all that it reads and writes, once) in a second, and the part of what the machine\n"
            "could do with them, measured beside; above 100 % the data came out of caches."
        ),
        epilog="example:\n  graphc bench digits.gc --batch 128\n  graphc bench digits.gc --kernels step",
    )
    command.add_argument("file", metavar="FILE", help="a model file .gc, or an artifact .gca")
    command.add_argument("--batch", type=int, default=32, metavar="N", help="every run-time dimension (default 32)")
    command.add_argument("--seconds", type=float, default=0.5, metavar="S", help="time for each entry (default 0.5)")
    command.add_argument("--kernels", metavar="ENTRY", help="only the kernels of this entry of a model file")
    add_threads(command)
    add_compile_options(command)
    command.set_defaults(command=run_bench)


def run_bench(arguments: argparse.Namespace) -> int:
    if not 1 <= arguments.batch < 1 << 31 or not 0 < arguments.seconds < 3600:
        raise OptionError("--batch must be from 1 to 2147483647, and --seconds between 0 and 3600")
    if arguments.kernels is not None:
        from graphc.cli_kernels import run_kernels

        return run_kernels(arguments, arguments.kernels)
    model = load_or_compile(arguments)
    model.init(seed=0)
    rows = bench_rows(model, arguments.batch)
    say(summary(model) + (f"; batch {rows}" if rows else ""))
    head = f"{'entry':12}{'median':>12}{'best':>12}{'calls/s':>12}"
    sys.stdout.write(head + (f"{'examples/s':>14}\n" if rows else "\n"))
    for name, call in entry_calls(model, arguments.batch).items():
        times = timed(call, arguments.seconds)
        median = times[len(times) // 2]
        figures = f"{_duration(median):>12}{_duration(times[0]):>12}{1 / median:>12,.0f}"
        sys.stdout.write(f"{name:12}{figures}" + (f"{rows / median:>14,.0f}\n" if rows else "\n"))
    if model.threads > 1:
        for name in entry_calls(model, arguments.batch):
            say(f"{name}: {_sharing(model.team.runs(name))}")
    if not arguments.file.endswith(".gc"):
        return 0
    from graphc.cli_kernels import run_kernels

    sys.stdout.write("\n")
    return run_kernels(arguments, "step" if "step" in model.signature.entries else "forward")


def _sharing(runs: Runs) -> str:
    """How calls were shared among threads."""
    counts = {
        "on all threads": runs.shared,
        "on one to measure it": runs.measured,
        "on one as that was faster": runs.relieved,
        "on one as the others were busy": runs.refused,
    }
    found = [f"{number} {where}" for where, number in counts.items() if number]
    return ", ".join(found) or "too small for several threads"


def bench_sizes(model: Model, batch: int) -> dict[str, int]:
    """The value of every run-time dimension: `batch`, or the nearest that it may take."""
    return {dim.name: min(max(batch, dim.lo), dim.hi or batch) for dim in model.signature.dims}


def bench_rows(model: Model, batch: int) -> int:
    """The examples of a call: the size of the first axis of every input; 0 where the inputs differ in it."""
    from graphc.runtime.dimexpr import evaluate

    sizes = bench_sizes(model, batch)
    rows = {evaluate(leaf.shape[0], sizes): None for leaf in model.signature.with_role("input") if leaf.shape}
    return next(iter(rows)) if len(rows) == 1 else 0


def entry_calls(model: Model, batch: int) -> dict[str, Callable[[], object]]:
    """entry -> a call of it on made-up inputs: normal floats, and zeros for integers, which any index may be."""
    import numpy as np

    from graphc.runtime.dimexpr import evaluate
    from graphc.runtime.signature import DTYPES

    random = np.random.default_rng(0)
    sizes = bench_sizes(model, batch)
    forward: dict[str, Any] = {}
    training: dict[str, Any] = {}
    for leaf in model.signature.with_role("input"):
        shape = tuple(evaluate(size, sizes) for size in leaf.shape)
        kind = np.dtype(DTYPES[leaf.dtype])
        array = random.standard_normal(shape).astype(kind) if kind.kind == "f" else np.zeros(shape, kind)
        training[leaf.name] = array
        if not leaf.train_only:
            forward[leaf.name] = array
    calls: dict[str, Callable[[], object]] = {"forward": lambda: model(**forward)}
    if "step" in model.signature.entries:
        calls["step"] = lambda: model.step(**training)
        calls["evaluate"] = lambda: model.evaluate(**training)
        calls["gradients"] = lambda: model.gradients(**training)
    return calls


def timed(call: Callable[[], object], seconds: float) -> list[float]:
    """The durations of repeated calls, shortest first; at least three, after one that warms up."""
    call()
    times: list[float] = []
    end = time.perf_counter() + seconds
    while len(times) < 3 or time.perf_counter() < end:
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return sorted(times)


def _duration(seconds: float) -> str:
    return f"{seconds * 1e6:,.1f} us" if seconds < 1e-2 else f"{seconds * 1e3:,.1f} ms"
