"""The native batch loop: many training or evaluation steps in one call, the rows of each batch gathered on the way.

`i64 graphc_epoch(ptr job)` knows nothing of a model: the job, made by `graphc.runtime.epoch`, says which entry to call
with which table, and which rows to copy where. Every field is 8 bytes:

    job      entry table dims arena team order position stop batch size counter advance gathers #gathers
             figures #figures
    gather   source, destination, bytes of a row
    figure   address of the scalar, its kind, sum in f64 (kinds: 0 f32, 1 f64, 2 i64, 3 i32, 4 i8, 5 u8 or bool)

    while position < stop:
        rows = min(batch, stop - position);  *size = rows
        copy row order[position + i] of each source to row i of its destination
        code = entry(table, dims, arena, team);    return code unless it is 0
        sum += scalar * rows for each figure;   *counter += advance;   position += rows
    return 0

After an error `position` is the first row of the batch that failed, whose figures are not in the sums.
"""

from __future__ import annotations

from graphc.codegen.llvm import Function, Module, Value

SYMBOL = "graphc_epoch"
_FIELDS = (
    ("entry", "ptr"), ("table", "ptr"), ("dims", "ptr"), ("arena", "ptr"), ("team", "ptr"), ("order", "ptr"),
    ("position", "i64"), ("stop", "i64"), ("batch", "i64"), ("size", "ptr"), ("counter", "ptr"), ("advance", "i64"),
    ("gathers", "ptr"), ("gather_count", "i64"), ("figures", "ptr"), ("figure_count", "i64"),
)  # fmt: skip
_AHEAD, _SHORT, _PAGE = 2, 256, 4096  # rows; bytes of rows not worth it, and the most of a row that is asked for
_POSITION = next(i for i, (name, _) in enumerate(_FIELDS) if name == "position")


def emit_epoch(module: Module, symbol: str = SYMBOL) -> str:
    """Add the batch loop to `module`; returns its symbol."""
    f = Function(module, symbol, [("ptr", "job")], returns="i64", internal=False, plain=True)
    job = {name: f.load(f.offset(f["job"], "i64", i), type) for i, (name, type) in enumerate(_FIELDS)}
    left = f.sub(job["stop"], job["position"])
    batches = f.sdiv(f.add(left, f.sub(job["batch"], 1)), job["batch"])
    failed = f.fresh("failed")
    with f.loop(0, batches, carried=[job["position"]], may_be_empty=True) as loop:
        position = loop.values[0]
        rest = f.sub(job["stop"], position)
        rows = f.select(f.icmp("slt", rest, job["batch"]), rest, job["batch"])
        f.store(rows, job["size"])
        _gather(f, job, f.offset(job["order"], "i64", position), rows)
        arguments = ", ".join(str(job[name]) for name in ("table", "dims", "arena", "team"))
        code = f.assign("i64", f"call i64 {job['entry'].text}({arguments})")
        counted = f.fresh("counted")
        f.branch(f.icmp("ne", code, 0), failed, counted, cold=True)
        f.begin(counted)
        _accumulate(f, job, f.sitofp(rows, "double"))
        f.store(f.add(f.load(job["counter"], "i64"), job["advance"]), job["counter"])
        following = f.add(position, rows)
        f.store(following, f.offset(f["job"], "i64", _POSITION))
        loop.next = [following]
    f.ret(Value("0", "i64"))
    f.begin(failed)
    f.ret(code)
    return module.add(f)


def _gather(f: Function, job: dict[str, Value], order: Value, rows: Value) -> None:
    """Copy the rows `order[0 .. rows)` of every source to its destination."""
    with f.loop(0, job["gather_count"], may_be_empty=True) as each:
        record = f.offset(job["gathers"], "i64", f.mul(each.index, 3))
        source, to = f.load(record, "ptr"), f.load(f.offset(record, "i64", 1), "ptr")
        width = f.load(f.offset(record, "i64", 2), "i64")
        with f.loop(0, rows) as row:
            with f.when(f.icmp("sgt", width, _SHORT)):
                _ask_for(f, source, width, order, f.add(row.index, _AHEAD), rows)
            chosen = f.load(f.offset(order, "i64", row.index), "i64")
            destination = f.offset(to, "i8", f.mul(row.index, width))
            origin = f.offset(source, "i8", f.mul(chosen, width))
            f.intrinsic("llvm.memcpy", "void", destination, origin, width, Value("false", "i1"))


def _ask_for(f: Function, source: Value, width: Value, order: Value, row: Value, rows: Value) -> None:
    """Prefetches a row of the batch: rows lie anywhere in memory, so that the processor cannot guess the next one."""
    with f.when(f.icmp("slt", row, rows)):
        origin = f.offset(source, "i8", f.mul(f.load(f.offset(order, "i64", row), "i64"), width))
        with f.loop(0, f.select(f.icmp("slt", width, _PAGE), width, _PAGE), step=64) as line:
            f.prefetch(f.offset(origin, "i8", line.index))


def _accumulate(f: Function, job: dict[str, Value], weight: Value) -> None:
    """Add each figure times the rows of the batch to its sum."""
    with f.loop(0, job["figure_count"], may_be_empty=True) as each:
        record = f.offset(job["figures"], "i64", f.mul(each.index, 3))
        address, kind = f.load(record, "ptr"), f.load(f.offset(record, "i64", 1), "i64")
        total = f.offset(record, "i64", 2)

        def add(value: Value) -> None:
            f.store(f.fadd(f.load(total, "double"), f.fmul(value, weight)), total)

        f.switch(
            kind,
            {
                0: lambda: add(f.fpext(f.load(address, "float"), "double")),
                1: lambda: add(f.load(address, "double")),
                2: lambda: add(f.sitofp(f.load(address, "i64"), "double")),
                3: lambda: add(f.sitofp(f.load(address, "i32"), "double")),
                4: lambda: add(f.sitofp(f.load(address, "i8"), "double")),
                5: lambda: add(f.uitofp(f.load(address, "i8"), "double")),
            },
        )
