"""Memory plans of random graphs, checked pair by pair: no two values that live at once share a byte, and each fits."""

from __future__ import annotations

import os
from itertools import combinations

import pytest
from generate import random_case

from graphc.codegen.entry import plan_entry
from graphc.codegen.memory import ALIGNMENT, live_at_once, size_of
from graphc.codegen.target import host
from graphc.ir.dims import evaluate
from graphc.ir.types import F32, F64
from graphc.passes import levels

COUNT = int(os.environ.get("GRAPHC_RANDOM_GRAPHS", "500")) // 5
START = int(os.environ.get("GRAPHC_RANDOM_START", "0"))


@pytest.mark.parametrize("level", ["O0", "O2"])
@pytest.mark.parametrize("seed", range(START, START + COUNT))
def test_what_lives_at_once_is_apart(seed: int, level: str) -> None:
    case = random_case(seed, (F32, F64)[seed % 2])
    code = plan_entry("entry", levels.pipeline(level).run(case.graph), host())
    plan = code.memory
    ends = {}
    for tenant, extent in plan.extents.items():
        begin = evaluate(plan.offset(extent), case.sizes)
        ends[tenant] = begin, begin + evaluate(size_of(tenant), case.sizes)
        assert begin % ALIGNMENT == 0 and ends[tenant][1] <= evaluate(plan.size, case.sizes)
    for one, other in combinations(plan.extents, 2):
        (first, last), (begin, end) = plan.lifetimes[one], plan.lifetimes[other]
        shares_time, shares_pieces = last >= begin and end >= first, {*plan.pieces[one]} & {*plan.pieces[other]}
        if ends[one][0] < ends[other][1] and ends[other][0] < ends[one][1]:
            assert not shares_time and shares_pieces, "threads meet where values share pieces"
    assert evaluate(plan.size, case.sizes) >= live_at_once(plan, case.sizes)[0]
    for time, task in enumerate(code.schedule.tasks):
        for memory in (*task.reads.values(), *task.writes.values()):
            if memory.kind == "arena":
                first, last = plan.lifetimes[memory]
                assert first <= time <= last
