"""Where everything lies in the memory of a context, and what the functions of the library are called.

bytes   field
    0   address of the arena           8  its size
   16   number of the last message    24  1 if the memory is the library's own
   32   address of the arena if it is the library's own
   64   the team, with the accounts of its entries
    .   values of the dimensions, then the table of addresses of the entry called
    .   the pool of workers, a handle for each, and what its start is told
    .   the variables, each on a multiple of 64 bytes (as `graphc.runtime.flat` stores them)
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

from graphc.c_api.names import distinct, identifier
from graphc.codegen.account import account_of
from graphc.runtime.buffers import ALIGNMENT, slab_places
from graphc.runtime.dimexpr import symbols
from graphc.runtime.signature import ENTRIES, Entry, Leaf, Signature
from graphc.runtime.store import variables
from graphc.runtime.threads import LINE, POOL

ARENA, ARENA_SIZE, MESSAGE, IS_OWN, OWN_ARENA, TEAM = 0, 8, 16, 24, 32, 64
DIMS = TEAM + account_of(len(ENTRIES))
MOST_THREADS = 64
MAX_DIM = (1 << 31) - 1  # of a dimension without an upper bound of its own
CODES = (
    ("OK", "done"),
    ("ERROR_NULL", "a pointer is NULL"),
    ("ERROR_SIZES", "the sizes of the dimensions are not allowed"),
    ("ERROR_ARENA", "there is no arena, or it is too small for these sizes"),
    ("ERROR_INDEX", "an input holds an index out of range; nothing was written"),
    ("ERROR_DATA", "the data is not what PREFIX_store writes for this model, or damaged"),
    ("ERROR_MEMORY", "memory is not aligned to 64 bytes, too small, or not to be had"),
    ("ERROR_THREADS", "the number of threads is not allowed, or the system grants no more"),
    ("ERROR_CPU", "this CPU lacks something that the code was compiled for"),
)
OK, ERROR_NULL, ERROR_SIZES, ERROR_ARENA, ERROR_INDEX, ERROR_DATA, ERROR_MEMORY, ERROR_THREADS, ERROR_CPU = range(9)


def aligned(size: int) -> int:
    """The next multiple of 64."""
    return -(-size // ALIGNMENT) * ALIGNMENT


class Layout:
    """The names and places that follow from a signature."""

    def __init__(self, signature: Signature) -> None:
        self.signature = signature
        self.prefix = identifier(signature.name)
        self.variables: Sequence[Leaf] = variables(signature)
        self.sizes, places = slab_places(self.variables)
        longest = max(len(entry.leaves) + len(entry.outputs) for entry in signature.entries.values())
        self.table = DIMS + 8 * len(signature.dims)
        self.pool = aligned(self.table + 8 * longest)
        self.handles = self.pool + POOL + LINE * (MOST_THREADS + 1)
        self.told = self.handles + 8 * (MOST_THREADS + 1)
        self.slab = aligned(self.told + 16 * (MOST_THREADS + 1))
        self.slab_size = places[-1]
        self.places = dict(zip((leaf.name for leaf in self.variables), places, strict=False))
        self.size = self.slab + self.slab_size
        self.dims = distinct((dim.name for dim in signature.dims), taken=("context", "threads"))

    @cached_property
    def constants(self) -> dict[str, str]:
        """Variable -> the name of its number in C: `MLP_HIDDEN_W`."""
        taken = [f"{self.prefix}_{name}".upper() for name, _ in CODES]
        names = (leaf.name for leaf in self.variables)
        return distinct(names, taken, lambda name: f"{self.prefix}_{name.lstrip('#')}".upper())

    @property
    def counter(self) -> int:
        """The place of the step counter in a context."""
        return self.slab + next(self.places[leaf.name] for leaf in self.variables if leaf.role == "step")

    def given(self, entry: Entry) -> list[tuple[Leaf, int]]:
        """The leaves that a caller passes, with their places in the entry's table."""
        leaves = [self.signature.leaf(name) for name in entry.leaves]
        return [(leaf, i) for i, leaf in enumerate(leaves) if leaf.role in ("input", "gradient")]

    def dims_of(self, entry: Entry) -> list[str]:
        """The dimensions that an entry's inputs have, by their names in the model file."""
        used = {name for leaf, _ in self.given(entry) for size in leaf.shape for name in symbols(size)}
        return [name for name in self.dims if name in used]

    def parameters(self, entry: Entry) -> tuple[list[str], list[str]]:
        """C's names of the pointers passed to an entry's function: of its inputs, and of its outputs."""
        inputs = [leaf.name for leaf, _ in self.given(entry)]
        outputs = [f"{one.name}\0" for one in entry.outputs]  # an output may be called like an input
        names = distinct([*inputs, *outputs], ["context", *self.dims.values()], lambda name: name.rstrip("\0"))
        return [names[name] for name in inputs], [names[name] for name in outputs]
