"""The functions of the library as LLVM IR: they check what they are given, fill the table, and call the entries.

Every function that can fail returns one of `CODES` as an int and leaves the number of a message in the context.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping, Sequence

from graphc.c_api import layout, threads
from graphc.c_api.cpu import emit_cpu_check
from graphc.c_api.expressions import emit, emit_magnitude
from graphc.c_api.layout import DIMS, Layout
from graphc.codegen.llvm import Function, Module, Value, const
from graphc.runtime import flat
from graphc.runtime.buffers import ALIGNMENT, NUMPY
from graphc.runtime.dimexpr import Expr, symbols
from graphc.runtime.signature import Entry

LARGEST = 2.0**62
NULL = Value("null", "ptr")


def emit_functions(module: Module, plan: Layout) -> list[str]:
    """Adds the library's functions to a module that has the entries; returns their names, which alone are exported."""
    return _Library(module, plan).emit()


class _Library:
    def __init__(self, module: Module, plan: Layout) -> None:
        self.module, self.plan = module, plan
        self.messages = [""]
        self.names: list[str] = []
        # without a task that is worth sharing the module has no code for workers
        self.stop = threads.emit_stop(module, plan) if "team" in module.kernels else None

    def emit(self) -> list[str]:
        signature = self.plan.signature
        self._emit_memory()
        self._emit_arena_size()
        for key, entry in signature.entries.items():
            self._emit_entry(key, entry)
        self._emit_tensors()
        self._emit_data()
        self._emit_last_error()
        return self.names

    # ---- shared parts ------------------------------------------------------------------------------------------------

    def _function(self, name: str, params: Sequence[tuple[str, str]], returns: str = "i32") -> Function:
        full = f"{self.plan.prefix}_{name}"
        self.names.append(full)
        return Function(self.module, full, params, returns, internal=False)

    def _message(self, text: str) -> int:
        """The number of a message."""
        if text not in self.messages:
            self.messages.append(text)
        return self.messages.index(text)

    def _fail(self, f: Function, condition: Value, code: int, message: str | None = None) -> None:
        """Returns `code` if the i1 holds; the message is left in the context, which must not be NULL then."""
        with f.when(condition, cold=True):
            if message is not None:
                f.store(const("i64", self._message(message)), f.offset(f["context"], "i8", layout.MESSAGE))
            f.ret(const("i32", code))
            f.begin(f.fresh("dead"))

    def _need_context(self, f: Function) -> None:
        self._fail(f, f.icmp("eq", f["context"], NULL), layout.ERROR_NULL)

    def _dims(self, names: Iterable[str]) -> list[tuple[str, str]]:
        return [("i64", f"dim {name}") for name in names]

    # ---- memory ------------------------------------------------------------------------------------------------------

    def _emit_memory(self) -> None:
        f = self._function("context_bytes", [], "i64")
        f.ret(const("i64", self.plan.size))
        self.module.add(f)
        self._emit_open()
        self._emit_close()
        self._emit_set_arena()
        self._emit_set_threads()

    def _emit_open(self) -> None:
        """int open(ctx **out, void *memory): zeros, then hyper-parameters, and the step counter at 1."""
        plan = self.plan
        self.module.declare("aligned_alloc", "ptr", ["i64", "i64"])
        f = self._function("open", [("ptr", "out"), ("ptr", "memory")])
        self._fail(f, f.icmp("eq", f["out"], NULL), layout.ERROR_NULL)
        f.store(NULL, f["out"])
        features = plan.signature.target.features
        emit_cpu_check(f, features, lambda missing: self._fail(f, missing, layout.ERROR_CPU))
        is_own = f.icmp("eq", f["memory"], NULL)
        with f.when(is_own, [f["memory"]]) as part:
            part.next = [f.call("aligned_alloc", "ptr", const("i64", ALIGNMENT), const("i64", plan.size))]
        base = part.results[0]
        self._fail(f, f.icmp("eq", base, NULL), layout.ERROR_MEMORY)
        self._fail(f, _misaligned(f, base), layout.ERROR_MEMORY)
        f.intrinsic("llvm.memset", "void", base, const("i8", 0), const("i64", plan.size), Value("false", "i1"))
        f.store(f.zext(is_own, "i64"), f.offset(base, "i8", layout.IS_OWN))
        f.store(const("i64", 1), f.offset(base, "i8", plan.counter))
        threads.emit_team(f, base)
        for leaf in plan.variables:
            if leaf.role == "hyper" and leaf.init is not None:
                raw = NUMPY[leaf.dtype].type(leaf.init.args.get("value", 0.0)).tobytes()
                type = f"i{8 * len(raw)}"
                place = f.offset(base, "i8", plan.slab + plan.places[leaf.name])
                f.store(const(type, int.from_bytes(raw, "little", signed=True)), place)
        f.store(base, f["out"])
        f.ret(const("i32", layout.OK))
        self.module.add(f)

    def _emit_close(self) -> None:
        """void close(ctx *): gives back what the library allocated."""
        self.module.declare("free", "void", ["ptr"])
        f = self._function("close", [("ptr", "context")], "void")
        with f.when(f.icmp("ne", f["context"], NULL)):
            if self.stop is not None:
                f.call(self.stop, "void", f["context"])
            f.call("free", "void", f.load(f.offset(f["context"], "i8", layout.OWN_ARENA), "ptr"))
            with f.when(f.icmp("ne", f.load(f.offset(f["context"], "i8", layout.IS_OWN), "i64"), 0)):
                f.call("free", "void", f["context"])
        f.ret()
        self.module.add(f)

    def _emit_set_arena(self) -> None:
        """int set_arena(ctx *, void *memory, int64_t bytes): the caller's memory, or (NULL) memory of the library."""
        f = self._function("set_arena", [("ptr", "context"), ("ptr", "memory"), ("i64", "bytes")])
        self._need_context(f)
        self._fail(f, f.icmp("slt", f["bytes"], 0), layout.ERROR_MEMORY, "the size of the arena is negative")
        self._fail(f, _misaligned(f, f["memory"]), layout.ERROR_MEMORY, "the arena is not aligned to 64 bytes")
        own = f.offset(f["context"], "i8", layout.OWN_ARENA)
        f.call("free", "void", f.load(own, "ptr"))
        for place in (own, f.offset(f["context"], "i8", layout.ARENA)):
            f.store(NULL, place)
        f.store(const("i64", 0), f.offset(f["context"], "i8", layout.ARENA_SIZE))
        with f.when(f.icmp("eq", f["memory"], NULL), [f["memory"]]) as part:
            rounded = f.and_(f.add(f["bytes"], ALIGNMENT), -ALIGNMENT)
            fresh = f.call("aligned_alloc", "ptr", const("i64", ALIGNMENT), rounded)
            f.store(fresh, own)
            part.next = [fresh]
        missing = f.icmp("eq", part.results[0], NULL)
        self._fail(f, missing, layout.ERROR_MEMORY, "there is not enough memory for the arena")
        f.store(part.results[0], f.offset(f["context"], "i8", layout.ARENA))
        f.store(f["bytes"], f.offset(f["context"], "i8", layout.ARENA_SIZE))
        f.ret(const("i32", layout.OK))
        self.module.add(f)

    def _emit_set_threads(self) -> None:
        """int set_threads(ctx *, int threads): of later calls."""
        f = self._function("set_threads", [("ptr", "context"), ("i32", "threads")])
        self._need_context(f)
        most = layout.MOST_THREADS
        allowed = f"threads must be from 1 to {most}"
        for wrong in (f.icmp("slt", f["threads"], 1), f.icmp("sgt", f["threads"], most)):
            self._fail(f, wrong, layout.ERROR_THREADS, allowed)
        if self.stop is not None:
            f.call(self.stop, "void", f["context"])
            with f.when(f.icmp("ne", f["threads"], 1)):
                wanted = f.sext(f["threads"], "i64")
                short = f.icmp("slt", f.add(threads.emit_start(f, self.module, self.plan, wanted), 1), wanted)
                with f.when(short, cold=True):
                    f.call(self.stop, "void", f["context"])
                self._fail(f, short, layout.ERROR_THREADS, "the system grants no more threads")
        f.ret(const("i32", layout.OK))
        self.module.add(f)

    # ---- sizes -------------------------------------------------------------------------------------------------------

    def _emit_arena_size(self) -> None:
        """int64_t arena_bytes(dims, int threads): enough for every function; -1 for sizes that are not allowed."""
        f = self._function("arena_bytes", [*self._dims(self.plan.dims), ("i32", "threads")], "i64")
        sizes = {name: f[f"dim {name}"] for name in self.plan.dims}
        for fault, _ in self._size_faults(f, sizes):
            with f.when(fault, cold=True):
                f.ret(const("i64", -1))
                f.begin(f.fresh("dead"))
        others = f.sext(f.sub(f["threads"], 1), "i64")
        with f.when(f.icmp("ugt", others, layout.MOST_THREADS - 1), cold=True):
            f.ret(const("i64", -1))
            f.begin(f.fresh("dead"))
        largest: Value | None = None
        for entry in self.plan.signature.entries.values():
            with f.when(f.fcmp("oge", emit_magnitude(f, _whole(entry), sizes), LARGEST), cold=True):
                f.ret(const("i64", -1))
                f.begin(f.fresh("dead"))
            need = _need(f, entry, sizes, others)
            largest = need if largest is None else f.select(f.icmp("sgt", need, largest), need, largest)
        f.ret(largest)
        self.module.add(f)

    def _size_faults(self, f: Function, sizes: Mapping[str, Value]) -> list[tuple[Value, str]]:
        """What may be wrong with the sizes: (i1, message)."""
        faults = []
        for dim in self.plan.signature.dims:
            if dim.name not in sizes:
                continue
            high = min(dim.hi if dim.hi is not None else layout.MAX_DIM, layout.MAX_DIM)
            size = sizes[dim.name]
            outside = f.or_(f.icmp("slt", size, dim.lo), f.icmp("sgt", size, high))
            faults.append((outside, f"{self.plan.dims[dim.name]} must be from {dim.lo} to {high}"))
        needs = [one for one in self.plan.signature.requires if set(symbols(one.expr)) <= sizes.keys()]
        return faults + [(f.icmp("eq", emit(f, need.expr, sizes), 0), need.message) for need in needs]

    # ---- entries -----------------------------------------------------------------------------------------------------

    def _emit_entry(self, key: str, entry: Entry) -> None:
        """int KEY(ctx *, dims, inputs, outputs)."""
        plan = self.plan
        inputs, outputs = plan.parameters(entry)
        places = [place for _, place in plan.given(entry)]
        places += range(len(entry.leaves), len(entry.leaves) + len(entry.outputs))
        pointers = [*inputs, *outputs]
        dims = plan.dims_of(entry)
        f = self._function(key, [("ptr", "context"), *self._dims(dims), *(("ptr", f"at {name}") for name in pointers)])
        self._need_context(f)
        for name in pointers:
            self._fail(f, f.icmp("eq", f[f"at {name}"], NULL), layout.ERROR_NULL, f"{name} is NULL")
        sizes = {name: f[f"dim {name}"] for name in dims}
        for fault, message in self._size_faults(f, sizes):
            self._fail(f, fault, layout.ERROR_SIZES, message)
        arena = self._arena(f, entry, sizes)
        for i, name in enumerate(plan.dims):
            f.store(sizes.get(name, const("i64", 0)), f.offset(f["context"], "i8", DIMS + 8 * i))
        table = f.offset(f["context"], "i8", plan.table)
        given = dict(zip(places, pointers, strict=True))
        for i in range(len(entry.leaves) + len(entry.outputs)):
            own = None if i in given else f.offset(f["context"], "i8", plan.slab + plan.places[entry.leaves[i]])
            f.store(own or f[f"at {given[i]}"], f.offset(table, "ptr", i))
        team = f.offset(f["context"], "i8", layout.TEAM)
        code = f.call(entry.symbol, "i64", table, f.offset(f["context"], "i8", DIMS), arena, team)
        self._report(f, entry, code)
        if key in ("step", "apply"):
            counter = f.offset(f["context"], "i8", plan.counter)
            f.store(f.add(f.load(counter, "i64"), 1), counter)
        f.ret(const("i32", layout.OK))
        self.module.add(f)

    def _arena(self, f: Function, entry: Entry, sizes: Mapping[str, Value]) -> Value:
        """The arena, which is large enough."""
        too_large = f.fcmp("oge", emit_magnitude(f, _whole(entry), sizes), LARGEST)
        self._fail(f, too_large, layout.ERROR_SIZES, "the sizes need more memory than there can be")
        have = f.load(f.offset(f["context"], "i8", layout.ARENA_SIZE), "i64")
        others = f.sub(f.load(f.offset(f["context"], "i8", layout.TEAM + 16), "i64"), 1)
        short = f.icmp("slt", have, _need(f, entry, sizes, others))
        self._fail(f, short, layout.ERROR_ARENA, "the arena is too small for these sizes and threads: see set_arena")
        return f.load(f.offset(f["context"], "i8", layout.ARENA), "ptr")

    def _report(self, f: Function, entry: Entry, code: Value) -> None:
        """An index out of range: which input holds it."""
        for name in dict.fromkeys(bound.leaf for bound in entry.index_bounds):
            wrong = f.icmp("eq", code, 1 + entry.leaves.index(name))
            self._fail(f, wrong, layout.ERROR_INDEX, f"{name} holds an index out of range")
        other = f.icmp("ne", code, 0)
        self._fail(f, other, layout.ERROR_INDEX, "an index is out of range")

    # ---- variables ---------------------------------------------------------------------------------------------------

    def _emit_tensors(self) -> None:
        """void *tensor(ctx *, int number), int64_t tensor_bytes(int number), const char *tensor_name(int number)."""
        plan = self.plan
        count = len(plan.variables)
        places = [plan.slab + plan.places[leaf.name] for leaf in plan.variables]
        texts = [leaf.name for leaf in plan.variables]

        f = self._function("tensor", [("ptr", "context"), ("i32", "number")], "ptr")
        known = f.and_(f.icmp("ult", f["number"], count), f.icmp("ne", f["context"], NULL))
        place = f.offset(f["context"], "i8", self._element(f, places, f["number"], count))
        f.ret(f.select(known, place, NULL))
        self.module.add(f)

        f = self._function("tensor_bytes", [("i32", "number")], "i64")
        known = f.icmp("ult", f["number"], count)
        f.ret(f.select(known, self._element(f, plan.sizes, f["number"], count), const("i64", -1)))
        self.module.add(f)

        f = self._function("tensor_name", [("i32", "number")], "ptr")
        known = f.icmp("ult", f["number"], count)
        f.ret(f.select(known, self._text(f, texts, f["number"]), NULL))
        self.module.add(f)

    def _element(self, f: Function, numbers: Sequence[int], index: Value, count: int) -> Value:
        """An element of a constant array; the first one if the i32 index is beyond its end."""
        array = self.module.constant(struct.pack(f"<{count}q", *numbers), 8)
        inside = f.select(f.icmp("ult", index, count), index, const("i32", 0))
        return f.load(f.offset(array, "i64", f.zext(inside, "i64")), "i64")

    def _text(self, f: Function, texts: Sequence[str], index: Value) -> Value:
        """One of several constant texts, as a C string."""
        raw = [text.encode("utf-8", "replace").replace(b"\0", b"?") + b"\0" for text in texts]
        starts = [sum(map(len, raw[:i])) for i in range(len(raw))]
        return f.offset(self.module.constant(b"".join(raw), 1), "i8", self._element(f, starts, index, len(raw)))

    def _emit_last_error(self) -> None:
        """const char *last_error(const ctx *): what the last failure was."""
        f = self._function("last_error", [("ptr", "context")], "ptr")
        number = f.assign("ptr", "alloca i64, align 8")
        f.store(const("i64", 0), number)
        with f.when(f.icmp("ne", f["context"], NULL)):
            f.store(f.load(f.offset(f["context"], "i8", layout.MESSAGE), "i64"), number)
        f.ret(self._text(f, self.messages, f.trunc(f.load(number, "i64"), "i32")))
        self.module.add(f)

    # ---- all variables as one block ----------------------------------------------------------------------------------

    def _emit_data(self) -> None:
        plan = self.plan
        self.module.declare("memcmp", "i32", ["ptr", "ptr", "i64"])
        f = self._function("data_bytes", [], "i64")
        f.ret(const("i64", flat.HEADER.size + plan.slab_size))
        self.module.add(f)
        header = flat.HEADER.pack(flat.MAGIC, plan.slab_size, 0, 0, flat.fingerprint(plan.variables))
        self._emit_load(header)
        self._emit_store(header)

    def _emit_load(self, header: bytes) -> None:
        """int load(ctx *, const void *data, int64_t bytes)."""
        f = self._function("load", [("ptr", "context"), ("ptr", "data"), ("i64", "bytes")])
        self._need_context(f)
        self._fail(f, f.icmp("eq", f["data"], NULL), layout.ERROR_NULL, "data is NULL")
        size = len(header) + self.plan.slab_size
        self._fail(f, f.icmp("ne", f["bytes"], size), layout.ERROR_DATA, f"the data must be {size} bytes")
        expected = self.module.constant(header, 8)
        for start, stop, what in (
            (0, 8, "is not of graphc"),
            (32, 64, "is of another model"),
            (8, 16, "has a wrong length"),
            (24, 32, "has a wrong header"),
        ):
            pieces = (f.offset(x, "i8", start) for x in (f["data"], expected))
            differs = f.icmp("ne", f.call("memcmp", "i32", *pieces, const("i64", stop - start)), 0)
            self._fail(f, differs, layout.ERROR_DATA, f"the data {what}")
        values = f.offset(f["data"], "i8", len(header))
        total = f.load(f.offset(f["data"], "i8", 16), "i64", 1)
        wrong = f.icmp("ne", self._checksum(f, values), total)
        self._fail(f, wrong, layout.ERROR_DATA, "the data is damaged: its checksum differs")
        slab = f.offset(f["context"], "i8", self.plan.slab)
        f.intrinsic("llvm.memcpy", "void", slab, values, const("i64", self.plan.slab_size), Value("false", "i1"))
        f.ret(const("i32", layout.OK))
        self.module.add(f)

    def _emit_store(self, header: bytes) -> None:
        """int store(ctx *, void *data, int64_t bytes)."""
        f = self._function("store", [("ptr", "context"), ("ptr", "data"), ("i64", "bytes")])
        self._need_context(f)
        self._fail(f, f.icmp("eq", f["data"], NULL), layout.ERROR_NULL, "data is NULL")
        size = len(header) + self.plan.slab_size
        self._fail(f, f.icmp("ne", f["bytes"], size), layout.ERROR_DATA, f"the data must be {size} bytes")
        slab, no = f.offset(f["context"], "i8", self.plan.slab), Value("false", "i1")
        f.intrinsic("llvm.memcpy", "void", f["data"], self.module.constant(header, 8), const("i64", len(header)), no)
        f.store(self._checksum(f, slab), f.offset(f["data"], "i8", 16), 1)
        values = f.offset(f["data"], "i8", len(header))
        f.intrinsic("llvm.memcpy", "void", values, slab, const("i64", self.plan.slab_size), no)
        f.ret(const("i32", layout.OK))
        self.module.add(f)

    def _checksum(self, f: Function, values: Value) -> Value:
        """The sum of `flat.checksum` over the slab's words."""
        with f.loop(0, self.plan.slab_size // 8, carried=[const("i64", 0)]) as loop:
            word = f.load(f.offset(values, "i64", loop.index), "i64", 1)
            weight = f.add(f.mul(loop.index, 2), 1)
            loop.next = [f.add(loop.values[0], f.mul(word, weight))]
        return loop.results[0]


def _whole(entry: Entry) -> Expr:
    """The most scratch memory an entry can need, with as many threads as there may be."""
    return ("+", entry.arena, ("*", layout.MOST_THREADS, entry.private))


def _need(f: Function, entry: Entry, sizes: Mapping[str, Value], others: Value) -> Value:
    """The scratch memory an entry needs, with so many threads besides the first."""
    return f.add(emit(f, entry.arena, sizes), f.mul(others, emit(f, entry.private, sizes)))


def _misaligned(f: Function, address: Value) -> Value:
    return f.icmp("ne", f.and_(f.ptrtoint(address, "i64"), ALIGNMENT - 1), 0)
