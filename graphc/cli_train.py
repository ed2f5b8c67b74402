"""The command that trains: graphc train."""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Any

from graphc.cli_compile import Commands, add_compile_options, compile_options
from graphc.cli_model import SPECS, add_inputs, add_threads, read_inputs, summary
from graphc.cli_report import say
from graphc.run_folder import METRICS, read_metrics, write_run_folder
from graphc.runtime.history import History

CHECKPOINT = "checkpoint"
"""The part of a run folder that `--resume` reads."""


def named_number(text: str) -> tuple[str, float]:
    """`lr=1e-4` as ("lr", 1e-4)."""
    name, equals, value = text.partition("=")
    try:
        if equals and name:
            return name, float(value)
    except ValueError:
        pass
    raise argparse.ArgumentTypeError(f"`{text}` is not NAME=NUMBER, such as lr=1e-4")


def add_commands(commands: Commands) -> None:
    """Declares the command."""
    command = commands.add_parser(
        "train",
        help="compile and train a model, and write a run folder",
        description=(
            "Compiles a model file, trains it on data files, and writes a run folder: the artifact, the weights,\n"
            "metrics.csv, learning curves, pictures of the graph, and a checkpoint to resume from."
        ),
        epilog=(
            f"{SPECS}\n\nexample:\n"
            "  graphc train digits.gc --input image=digits.npz:images --input label=digits.npz:labels \\\n"
            "      --epochs 15 --batch 32 --validation 0.2 --out runs/digits"
        ),
    )
    command.add_argument("file", metavar="FILE.gc")
    add_inputs(command)
    command.add_argument("--epochs", type=int, default=10, metavar="N", help="passes over the data (default 10)")
    command.add_argument("--batch", type=int, default=32, metavar="N", help="examples a step (default 32)")
    command.add_argument(
        "--validation", type=float, default=0.0, metavar="PART", help="hold out this part, such as 0.1 (default 0)"
    )
    command.add_argument(
        "--patience", type=int, metavar="N", help="stop after N epochs without a better held-out loss; keep the best"
    )
    command.add_argument("--seed", type=int, metavar="N", help="of initial values and order (default 0)")
    command.add_argument(
        "--set", metavar="NAME=NUMBER", action="append", default=[], type=named_number, help="a hyper of the file"
    )
    command.add_argument("--out", metavar="FOLDER", help="the run folder (default runs/MODEL)")
    command.add_argument("--resume", metavar="FOLDER", help="go on from the checkpoint in this run folder")
    add_threads(command)
    add_compile_options(command)
    command.set_defaults(command=run_train)


class Metrics:
    """The figures of a run, earlier epochs of a resumed one included, on disk about a second behind."""

    def __init__(self, folder: Path, history: History) -> None:
        self.path, self.history = folder / METRICS, history
        self._written = time.monotonic()

    def record(self, epoch: int, row: dict[str, Any]) -> None:
        """A callback of `fit`; what a broken run had beyond its checkpoint is replaced."""
        self.history.rows[:] = [*(one for one in self.history.rows if one["epoch"] < epoch), row]
        if time.monotonic() > self._written + 1:
            self.write()

    def write(self) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self.history.to_csv(self.path)
        self._written = time.monotonic()


def run_train(arguments: argparse.Namespace) -> int:
    from graphc import driver

    options = compile_options(arguments)
    started = time.perf_counter()
    model = driver.compile_file(arguments.file, threads=arguments.threads, **options)
    say(f"compiled {arguments.file} in {time.perf_counter() - started:.2f} s")
    say(summary(model))
    inputs = read_inputs(model, arguments.input)
    folder = Path(arguments.out or arguments.resume or Path("runs") / model.name)
    model.init(seed=arguments.seed or 0)
    if arguments.resume:
        say(f"resuming from {model.restore(Path(arguments.resume) / CHECKPOINT)}")
    for name, value in arguments.set:
        model.hyper[name] = value
    metrics = Metrics(folder, read_metrics(arguments.resume) if arguments.resume else History())
    folder.mkdir(parents=True, exist_ok=True)  # before the first epoch, which would be lost
    try:
        result = model.fit(
            inputs,
            batch=arguments.batch,
            epochs=arguments.epochs,
            validation=arguments.validation or None,
            patience=arguments.patience,
            callbacks=[metrics.record],
            seed=arguments.seed,
            checkpoint=folder / CHECKPOINT,
            resume=bool(arguments.resume),
        )
    except KeyboardInterrupt:
        metrics.write()
        say(f"\nto go on from here, add: --resume {folder}")
        raise
    say(f"stopped: {result.stopped}")
    graphs = {
        "graph": driver.stage_graph(arguments.file, "graph", entry="forward", **options),
        "step": driver.stage_graph(arguments.file, "optimised", entry="step", **options),
    }
    lines = write_run_folder(folder, model, metrics.history, graphs)
    say(f"{folder}/")
    for line in [*lines, f"{CHECKPOINT + '/':22} to go on from: graphc train ... --resume {folder}"]:
        say(f"  {line}")
    return 0
