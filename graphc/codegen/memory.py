"""The memory plan: arena slots shared by values whose lifetimes do not overlap.

Sizes may depend on run-time dimensions, so a slot is as large as the largest of its values at the sizes of the call;
offsets are sums of slot sizes, computed by the entry itself.
"""

from __future__ import annotations

from graphc.codegen.kernel import Buffer
from graphc.codegen.tasks import Memory, MemoryPlan, Schedule, Slot, Task, Tenant
from graphc.ir.dims import Dim, is_at_least, product

ALIGNMENT = 64


def plan_memory(schedule: Schedule) -> MemoryPlan:
    """Greedy in order of definition: the free slot that fits best, else a new one."""
    lifetimes = _lifetimes(schedule)
    plan = MemoryPlan([], {}, lifetimes)
    ends: list[int] = []  # slot -> the last task that uses its present tenant
    for tenant, (start, end) in sorted(lifetimes.items(), key=lambda item: item[1]):
        size = size_of(tenant)
        number = _choose(plan.slots, ends, start, size)
        if number is None:
            number = len(plan.slots)
            plan.slots.append(Slot([size]))
            ends.append(end)
        slot = plan.slots[number]
        ends[number] = end
        slot.tenants.append(tenant)
        if not any(is_at_least(other, size) for other in slot.sizes):
            slot.sizes = [other for other in slot.sizes if not is_at_least(size, other)] + [size]
        plan.slot_of[tenant] = number
    return plan


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


def _choose(slots: list[Slot], ends: list[int], start: int, size: Dim) -> int | None:
    """A free slot: one of exactly this size, else the tightest that provably holds it, else one it provably extends."""
    free = [n for n, end in enumerate(ends) if end < start]
    for n in free:
        if size in slots[n].sizes:
            return n
    holding = [n for n in free if any(is_at_least(other, size) for other in slots[n].sizes)]
    if holding:
        best = holding[0]
        for n in holding[1:]:
            if is_at_least(slots[best].sizes[0], slots[n].sizes[0]):
                best = n
        return best
    return next((n for n in free if all(is_at_least(size, other) for other in slots[n].sizes)), None)
