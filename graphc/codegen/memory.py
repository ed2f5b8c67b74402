"""The memory plan: where in the arena every value lies; those whose lifetimes do not overlap may share bytes.

Sizes may depend on run-time dimensions. A region of the arena holds the values whose sizes are multiples of one unit
(64 bytes; or 64*B if B is known at the call only), so that their places are known multiples of it as well: they are
packed by `graphc.codegen.box_packing`. Regions lie one behind the other.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from math import gcd

from graphc.codegen.box_packing import Box, most_at_once, pack
from graphc.codegen.kernel import Buffer
from graphc.codegen.tasks import Extent, Memory, MemoryPlan, Region, Schedule, Task, Tenant
from graphc.ir.dims import Dim, divide_exactly, evaluate, floordiv, product

ALIGNMENT = 64  # bytes: a vector of AVX-512, a line of the cache
GRAINS = 8  # a size has so many grains or more, and is rounded up to whole ones: by an eighth at most


def plan_memory(schedule: Schedule) -> MemoryPlan:
    """Packs the values of each region."""
    lifetimes = _lifetimes(schedule)
    regions: dict[Dim, list[tuple[Tenant, int]]] = {ALIGNMENT: []}
    for tenant in lifetimes:
        unit, count = units_of(size_of(tenant))
        regions.setdefault(unit, []).append((tenant, count))
    plan = MemoryPlan([], {}, lifetimes)
    for unit, tenants in regions.items():
        if not tenants:
            continue
        starts, units = pack([Box(count, *lifetimes[tenant]) for tenant, count in tenants])
        for (tenant, count), start in zip(tenants, starts, strict=True):
            plan.extents[tenant] = Extent(len(plan.regions), start, count)
        plan.regions.append(Region(unit, units))
    return plan


def units_of(size: Dim) -> tuple[Dim, int]:
    """(the unit of the region for values of so many bytes, how many of it they take).

    Of 512*B bytes it is 64*B; of 40*B, of which 64 are not a divisor, the next multiple of 64 above 8*B.
    """
    if isinstance(size, int):
        return ALIGNMENT, -(-size // ALIGNMENT)
    factor = gcd(*(coefficient for _, coefficient in size.terms))
    rest = divide_exactly(size, factor)
    assert rest is not None, "a common factor divides"
    grain = min(ALIGNMENT, max(factor & -factor, (1 << (factor // GRAINS).bit_length()) // 2))
    return aligned(rest * grain), -(-factor // grain)


def aligned(size: Dim) -> Dim:
    """The least multiple of the alignment that is not below."""
    return floordiv(size + (ALIGNMENT - 1), ALIGNMENT) * ALIGNMENT


def enough_for(sizes: Iterable[Dim]) -> Dim:
    """Bytes that hold each of these sizes, one at a time."""
    most: dict[Dim, int] = {}
    for size in sizes:
        unit, count = units_of(size)
        most[unit] = max(count, most.get(unit, 0))
    total: Dim = 0
    for unit, count in most.items():
        total = total + unit * count
    return total


def live_at_once(plan: MemoryPlan, sizes: Mapping[str, int]) -> tuple[int, int]:
    """(the most bytes that live at one time, the first task during which they do): no plan needs less.

    Each value counts with its size at these run-time sizes, rounded up to the alignment.
    """
    sizes_of = {tenant: evaluate(aligned(size_of(tenant)), sizes) for tenant in plan.lifetimes}
    return most_at_once([Box(size, *plan.lifetimes[tenant]) for tenant, size in sizes_of.items()])


def size_of(tenant: Tenant) -> Dim:
    """Bytes of a value."""
    if isinstance(tenant, Memory):
        return tenant.type.elements * tenant.type.dtype.size
    return product(tenant.shape) * tenant.dtype.size


def _lifetimes(schedule: Schedule) -> dict[Tenant, tuple[int, int]]:
    """tenant -> (first, last) task that touches it."""
    found: dict[Tenant, tuple[int, int]] = {}

    def touch(tenant: Tenant, time: int) -> None:
        first, last = found.get(tenant, (time, time))
        found[tenant] = min(first, time), max(last, time)

    for time, task in enumerate(schedule.tasks):
        for memory in (*task.reads.values(), *task.writes.values()):
            if memory.whole.kind == "arena":
                touch(memory.whole, time)
        for buffer in scratch_of(task):
            touch(buffer, time)
    return found


def scratch_of(task: Task) -> list[Buffer]:
    """What a task needs for itself; panels made before a loop are not its own."""
    return [b for b in task.kernel.buffers if b.role == "scratch" and b not in task.reads]
