"""Model files with mutated tokens: nothing but the compiler's own errors, each with a place, and no hang.

GRAPHC_FUZZ_PROGRAMS=50000 for the long run, GRAPHC_FUZZ_SEED for other files. A failure is reduced and printed; put it
into corpus/programs, which is replayed.
"""

from __future__ import annotations

import os
import random
import signal
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import mutate
import pytest

from graphc.codegen.target import named
from graphc.compilation import Compilation, Options
from graphc.frontend.build import elaborate
from graphc.frontend.parser import decode
from graphc.runtime.errors import CompileError, GraphcError, InternalError
from graphc.source import Source

ROOT = Path(__file__).parents[2]
COUNT = int(os.environ.get("GRAPHC_FUZZ_PROGRAMS", "300"))
SEED = int(os.environ.get("GRAPHC_FUZZ_SEED", "0"))
SECONDS = 20.0  # a real limit is far above what any case needs, also on a busy machine
COMPILED = 25  # one of so many sound mutants is compiled to code too
SEEDS = sorted([*ROOT.glob("examples/*/*.gc"), *ROOT.glob("frontend/std/*.gc"), *ROOT.glob("tests/corpus/**/*.gc")])
CORPUS = sorted((Path(__file__).parent / "corpus" / "programs").glob("*.gc"))


class Hang(Exception):
    pass


@contextmanager
def limited(seconds: float) -> Iterator[None]:
    """`Hang` after so much processor time."""

    def stop(*_: object) -> None:
        raise Hang(f"not done after {seconds} s of processor time")

    before = signal.signal(signal.SIGPROF, stop)
    signal.setitimer(signal.ITIMER_PROF, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)


def refuse_files(path: object) -> Source:
    raise OSError(2, "No such file or directory", str(path))


def fault(data: bytes, compiled: bool = False) -> str | None:
    """What is wrong with how the compiler takes a text; None if nothing is."""
    try:
        with limited(SECONDS if not compiled else 60.0):
            source, diagnostics = decode("mutant.gc", data)
            if not diagnostics:
                program, diagnostics = elaborate(source, load=refuse_files, dims=None, model=None)
                if compiled and program is not None:
                    _ = Compilation(program, "0" * 64, Options(named("host"), verify=True)).build
    except InternalError as error:
        return f"InternalError: {str(error)[:300]}"
    except (CompileError, GraphcError):
        return None if compiled else "an exception instead of diagnostics"
    except BaseException as error:
        if isinstance(error, KeyboardInterrupt):
            raise
        return "".join(traceback.format_exception(error)[-4:])
    for one in diagnostics:
        if not one.labels or one.labels[0].span.first.line < 1:
            return f"a diagnostic without a place: {one}"
    return None


def reduced(data: bytes) -> bytes:
    """Fewer lines with a fault of the same kind."""
    kind = (fault(data) or "").splitlines()[-1:]
    lines = data.split(b"\n")
    at = 0
    while at < len(lines):
        shorter = lines[:at] + lines[at + 1 :]
        found = fault(b"\n".join(shorter))
        if found is not None and found.splitlines()[-1:] == kind:
            lines = shorter
        else:
            at += 1
    return b"\n".join(lines)


def test_mutated_programs() -> None:
    texts = [path.read_text(encoding="utf-8", errors="replace") for path in SEEDS]
    draws = random.Random(f"programs {SEED}")
    faults = []
    for number in range(COUNT):
        text = mutate.text_mutant(draws, draws.choice(texts), texts)
        data = text.encode("utf-8", "surrogatepass")
        if draws.randrange(20) == 0:
            data = mutate.mutant(draws, data)
        found = fault(data) or (fault(data, compiled=True) if draws.randrange(COMPILED) == 0 else None)
        if found is not None:
            faults.append(
                f"--- seed {SEED}, number {number}: {found}\n{reduced(data).decode('utf-8', 'replace')[:2000]}"
            )
    assert not faults, f"{len(faults)} faults\n" + "\n".join(faults[:20])


@pytest.mark.parametrize("path", CORPUS, ids=lambda path: str(path.stem))
def test_what_was_found_before(path: Path) -> None:
    assert fault(path.read_bytes()) is None
    assert fault(path.read_bytes(), compiled=True) is None
