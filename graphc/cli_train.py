"""The command that trains: graphc train."""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from graphc.cli_compile import Commands, add_compile_options, compile_options
from graphc.cli_model import SPECS, add_inputs, add_threads, read_inputs, summary
from graphc.cli_report import say
from graphc.run_folder import Metrics, read_metrics, write_run_folder
from graphc.runtime import checkpoint
from graphc.runtime.durable import sweep
from graphc.runtime.history import History

if TYPE_CHECKING:
    from graphc.runtime.model import Model

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
            "metrics.csv, learning curves, pictures of the graph, and a checkpoint to resume from.\n"
            "Standard output has `resume STEP` (with --resume), `saved STEP` for each checkpoint on the disk (with\n"
            "--checkpoint-every), and at the end `final DIGEST`, a SHA-256 of all that was trained."
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
    command.add_argument(
        "--checkpoint-every", type=int, metavar="N", help="a checkpoint every N steps (default: after each epoch)"
    )
    command.add_argument(
        "--resume",
        metavar="FOLDER",
        help="go on from the checkpoint in this run folder; from the start if that is the run's own and has none yet",
    )
    command.add_argument(
        "--check", choices=("finite",), help="finite: stop at the first NaN or infinity and say which line makes it"
    )
    command.add_argument("--other-source", action="store_true", help="resume although the model file has changed")
    add_threads(command)
    add_compile_options(command)
    command.set_defaults(command=run_train)


def run_train(arguments: argparse.Namespace) -> int:
    from graphc import driver

    options = compile_options(arguments)
    started = time.perf_counter()
    model = driver.compile_file(arguments.file, threads=arguments.threads, check=arguments.check, **options)
    say(f"compiled {arguments.file} in {time.perf_counter() - started:.2f} s")
    say(summary(model))
    inputs = read_inputs(model, arguments.input)
    folder = Path(arguments.out or arguments.resume or Path("runs") / model.name)
    model.init(seed=arguments.seed or 0)
    resumed = resume(model, arguments, folder) if arguments.resume else False
    for name, value in arguments.set:
        model.hyper[name] = value
    folder.mkdir(parents=True, exist_ok=True)  # before the first epoch, which would be lost
    sweep(folder)
    metrics = Metrics(folder, read_metrics(arguments.resume, before=epochs_done(model)) if resumed else History())
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
            checkpoint_every=arguments.checkpoint_every,
            on_checkpoint=(lambda step: print_fact("saved", step)) if arguments.checkpoint_every else None,
            resume=resumed,
        )
    except KeyboardInterrupt:
        say(f"\nto go on from here, add: --resume {folder}")
        raise
    say(f"stopped: {result.stopped}")
    graphs = {
        "graph": model.inspection.graph("graph", entry="forward"),
        "step": model.inspection.graph("optimised", entry="step"),
    }
    lines = write_run_folder(folder, model, metrics.history, graphs)
    say(f"{folder}/")
    for line in [*lines, f"{CHECKPOINT + '/':22} to go on from: graphc train ... --resume {folder}"]:
        say(f"  {line}")
    print_fact("final", model.digest())
    return 0


def print_fact(word: str, value: object) -> None:
    """A line for programs, at once and in one piece: who reads `saved 120` may rely on it."""
    sys.stdout.write(f"{word} {value}\n")  # `print` writes the words one by one where Python is told not to buffer
    sys.stdout.flush()


def resume(model: Model, arguments: argparse.Namespace, folder: Path) -> bool:
    """The checkpoint of `--resume` into the model. False if a run with its own folder was killed before it had one."""
    home = Path(arguments.resume) / CHECKPOINT
    if folder.resolve() == Path(arguments.resume).resolve() and not checkpoint.numbered(home):
        say(f"{home}: no checkpoint yet; starting at the start")
        print_fact("resume", 0)
        return False
    say(f"resuming from {model.restore(home, other_source=arguments.other_source)}")
    print_fact("resume", model.steps)
    return True


def epochs_done(model: Model) -> int:
    """Whole epochs of the training that a restored model is in."""
    cursor = model.store.cursor
    return cursor.epoch if cursor is not None else 0
