"""What a turn of a loop will need of memory is asked for in the turn before, amid the sums of a product.

A recurrent cell reads and writes a part of long sequences in every step: what comes from outside, what it keeps for the
backward pass.  Its own arithmetic is over too soon to hide the way to memory, but the product of the step is not, whose
operands are in the cache.  Each row of its tiles asks for what will be that row's in the next step.
"""

from __future__ import annotations

from dataclasses import replace

from graphc.codegen.kernel import Buffer, Contract, Fetch
from graphc.codegen.tasks import Loop, Memory, Place, Task
from graphc.ir.dims import product
from graphc.ir.types import TensorType

SUMS = 4  # multiply-adds for every byte that is asked for, at least: a line then has some cycles
LARGEST = 3 << 18  # bytes that the second-level cache has room for beside a step's own


def ask_for_next(loop: Loop) -> None:
    """Lets the largest product of a step ask for those parts of the next step that this one does not touch."""
    products = {task: sums for task in loop.step.tasks if (sums := _sums(task)) > 0}
    if not products:
        return
    task = max(products, key=lambda one: products[one])
    (contract,) = task.kernel.body
    assert isinstance(contract, Contract), "only those have sums"
    fetches: list[Fetch] = []
    for place, name in _following(loop).items():
        row = _row_bytes(place, contract)
        if row is None or not _fits(contract, sum(one.row for one in fetches) + row, products[task]):
            continue
        buffer = Buffer(f"n{len(fetches)}", place.buffer.dtype, place.buffer.shape[1:], "in")
        fetches.append(Fetch(buffer, row))
        task.reads[buffer] = Memory(TensorType(buffer.dtype, buffer.shape), "next", name)
        loop.following[task.reads[buffer]] = place
    buffers = (*task.kernel.buffers, *(one.buffer for one in fetches))
    task.kernel = replace(task.kernel, buffers=buffers, body=(replace(contract, fetches=tuple(fetches)),))


def _sums(task: Task) -> int:
    """Multiply-adds for a row of the task's product; 0 if it is none, or if its size is not known."""
    if task.loop is not None or len(task.kernel.body) != 1 or not isinstance(task.kernel.body[0], Contract):
        return 0
    contract = task.kernel.body[0]
    sums = product(axis.extent for axis in contract.k) * contract.column.extent * (1 + len(contract.others))
    return sums if isinstance(sums, int) else 0


def _fits(contract: Contract, row: int, sums: int) -> bool:
    """Whether so many bytes can come amid so many multiply-adds, both for a row, and stay until they are needed.

    Of an unknown number of rows nobody can tell; they would also take tiles of all heights, with twice the code.
    """
    rows = contract.row.extent
    return isinstance(rows, int) and row * SUMS <= sums and rows * row <= LARGEST


def _following(loop: Loop) -> dict[Place, str]:
    """Where the tasks of the next turn come that those of this one do not, and the names of what lies there."""
    touched: dict[Place, str] = {}
    for task in loop.step.tasks:
        for memory in (*task.reads.values(), *task.writes.values()):
            place = loop.place(memory)
            if place is not None and place.steps:
                touched[place] = f"{memory.whole.kind} {memory.whole.name}"
    step = -1 if loop.reverse else 1
    following = {replace(place, ahead=place.ahead + step, first=None): name for place, name in touched.items()}
    return {place: name for place, name in following.items() if place not in touched}


def _row_bytes(place: Place, contract: Contract) -> int | None:
    """The bytes of a part that belong to a row of the product; None if it has no such rows."""
    shape = place.buffer.shape[1:]
    if not shape or shape[0] != contract.row.extent:
        return None
    row = product(shape[1:]) * place.buffer.dtype.size
    return row if isinstance(row, int) else None
