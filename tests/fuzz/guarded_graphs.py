"""Random graphs between guard pages: `python guarded_graphs.py START COUNT`. Its last line names the failure."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1] / "random"))

from generate import random_case

from graphc.graph_function import compile_graph
from graphc.ir.types import F32, F64
from graphc.runtime.bounds import POISONS, GuardedMemory
from graphc.runtime.buffers import aligned_bytes


def guarded(made: list[GuardedMemory], place: int) -> Callable[[int], Any]:
    """Memory that ends at its guard (place 0) or begins after it (1), full of poison."""

    def memory(size: int) -> Any:
        made.append(GuardedMemory(size, place == 0, POISONS[place]))
        return made[-1].bytes

    return memory


def say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def bits(results: Any) -> list[tuple[str, bytes]]:
    return [(name, array.tobytes()) for part in results for name, array in part.items()]


def main(start: int, count: int) -> None:
    for seed in range(start, start + count):
        case = random_case(seed, (F32, F64)[seed % 2])
        for level in ("O0", "O2"):
            say(f"seed {seed} {level}")
            sources: list[Callable[[int], Any]] = [aligned_bytes]  # the last one counts
            run = compile_graph(case.graph, level, memory=lambda size, sources=sources: sources[-1](size))
            expected = bits(run(case.values, case.sizes))
            for place in (0, 1):
                made: list[GuardedMemory] = []
                sources.append(guarded(made, place))
                if bits(run(case.values, case.sizes)) != expected:
                    sys.exit("other bits: memory was read that nobody wrote")
                if not all(memory.is_intact for memory in made):
                    sys.exit("bytes beside a buffer were written")
    say("done")


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
