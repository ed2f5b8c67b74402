"""One case on one number of threads, in a process of its own: candidates made ready one by one, then timed in turns."""

from __future__ import annotations

import gc
import os
import statistics
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from importlib import import_module
from importlib.metadata import version
from importlib.util import find_spec
from time import perf_counter, process_time, sleep
from typing import Any

from .candidates import compare, first_values, graphc_model, graphc_twin, peers
from .case import TIMED_RATE, Case, Twin

PAUSE = 1e-2  # seconds before a turn, again and again while threads of others turn round; some systems count in 4 ms
LONGEST_PAUSE = 0.2
TURN = 0.02  # seconds of steps in one turn
# candidate -> what to import first, so that it does not count as compiling
IMPORTS = {"graphc": "graphc.compiler", "numpy": "numpy", "torch": "torch", "jax": "jax"}


@dataclass
class Result:
    """Figures of one candidate. Seconds, and MiB above what the process had, all imported, before it was made."""

    candidate: str
    compile_s: float = 0.0
    first_call_s: float = 0.0
    peak_mib: float = 0.0
    median_s: float = 0.0
    best_s: float = 0.0
    steps: int = 0
    turns: list[float] = field(default_factory=list)


def ready(name: str, make: Callable[[], Twin], rate: float) -> tuple[Twin, Result]:
    """The candidate after two calls: compile time, time of the first call, memory."""
    from .machine import forget_peak, peak_resident, resident

    gc.collect()
    forget_peak()
    before, started = resident(), perf_counter()
    twin = make()
    made = perf_counter()
    twin.set_rate(rate)
    called = perf_counter()
    twin.run()
    first = perf_counter() - called
    twin.run()
    return twin, Result(name, made - started, first, max(0.0, peak_resident() - before))


def seconds_to_import(module: str) -> float:
    """0 if something else imported it before: NumPy is imported with graphc."""
    started = perf_counter()
    import_module(module)
    return perf_counter() - started


def measure(
    case: Case, threads: int, seconds: float, compiled: bool, check: bool, alone: bool = False
) -> dict[str, Any]:
    """A record of the case: `differences` to the peers, `results` by candidate, peak rate and bandwidth beside them.

    Without peers if graphc is `alone`: its turns follow each other, and caches hold what the one before left in them.
    Raises ValueError where a peer computes something else.
    """
    from .machine import Bandwidth, Others, Peak, idlest

    os.sched_setaffinity(0, idlest(threads))
    imports = {name: seconds_to_import(module) for name, module in IMPORTS.items() if find_spec(name) is not None}
    rate, data = TIMED_RATE.get(case.optimizer, 0.0), case.data()
    model: Any = None
    differences: dict[str, float] = {}

    def ours() -> Twin:
        nonlocal model
        model = graphc_model(case, threads)
        return graphc_twin(case, model, data)

    made = [ready("graphc", ours, rate)]
    values = first_values(model)
    if not alone:
        made += [ready(name, make, rate) for name, make in peers(case, values, data, threads, compiled).items()]
    if check and not alone:
        differences = compare(case, threads, model)
        for twin, _ in made:
            twin.set_rate(rate)
    peak, bandwidth, others = Peak(threads), Bandwidth(threads), Others()
    in_turns(made, [peak.measure, *([bandwidth.measure] if case.moved else [])], seconds)
    return {
        "workload": case.name,
        "threads": threads,
        "flops": case.flops,
        "bytes": case.moved,
        "peak_gflops": peak.best,
        "copy_gbs": bandwidth.best,
        "others": others.share(),
        "versions": {name: version(name) for name in imports if name != "graphc"},
        "import_s": imports,
        "differences": differences,
        "runs": asdict(model.team.runs("step" if case.optimizer else "forward")),
        "results": [asdict(result) for _, result in made],
    }


def rest() -> None:
    """Waits until the threads of other candidates sleep: after its last call OpenBLAS looks for work for 50 ms."""
    stop = perf_counter() + LONGEST_PAUSE
    while perf_counter() < stop:
        used = process_time()
        sleep(PAUSE)
        if process_time() - used < PAUSE / 4:
            return


def in_turns(made: list[tuple[Twin, Result]], beside: list[Callable[[], None]], seconds: float) -> None:
    """Turns of TURN seconds for each candidate, about `seconds` in all for each, and at least five turns.

    A turn begins with a step that is not timed. What is kept of a turn is the mean of its steps; of the turns, the
    median and the best.
    """
    counts = []
    for twin, _ in made:
        started = perf_counter()
        twin.run()
        counts.append(max(1, int(TURN / max(perf_counter() - started, 1e-7))))
    stop = perf_counter() + seconds * len(made)
    while perf_counter() < stop or len(made[0][1].turns) < 5:
        for (twin, result), count in zip(made, counts, strict=True):
            run = twin.run
            if len(made) > 1:
                rest()
            run()
            started = perf_counter()
            for _ in range(count):
                run()
            result.turns.append((perf_counter() - started) / count)
            result.steps += count
        for one in beside:
            one()
    for _, result in made:
        result.median_s, result.best_s = statistics.median(result.turns), min(result.turns)
