"""Threads of a context: workers started by `pthread_create`, which wait in the code of graphc.codegen.team.

The pool lies in the context (`Layout.pool`), behind it a handle for each worker and what its start is told. A context
is used by one thread at a time, so that its pool is never busy when it is changed.
"""

from __future__ import annotations

from graphc.c_api import layout
from graphc.c_api.layout import Layout
from graphc.codegen.llvm import Function, Module, Value, const
from graphc.codegen.team import STOP, VERSION, WORKER
from graphc.runtime.threads import FUTEX, PATIENCE, RELIEF

NULL = Value("null", "ptr")


def emit_team(f: Function, context: Value) -> None:
    """The team of a context just opened: one thread, no pool."""
    for place, number in ((0, VERSION), (16, 1), (24, PATIENCE)):
        f.store(const("i64", number), f.offset(context, "i8", layout.TEAM + place))


def emit_start(f: Function, module: Module, plan: Layout, threads: Value) -> Value:
    """Starts `threads` - 1 workers (i64); returns how many there are then. There are none before."""
    for name, returns, params in (
        ("syscall", "i64", ["i64", "..."]),
        ("clock_gettime", "i32", ["i32", "ptr"]),
        ("sched_getcpu", "i32", []),
        ("pthread_create", "i32", ["ptr", "ptr", "ptr", "ptr"]),
    ):
        module.declare(name, returns, params)
    pool = f.offset(f["context"], "i8", plan.pool)
    size = const("i64", plan.handles - plan.pool)
    f.intrinsic("llvm.memset", "void", pool, const("i8", 0), size, Value("false", "i1"))
    system = Value("@syscall", "ptr"), const("i64", FUTEX["x86_64" if module.target.is_x86 else "aarch64"])
    for i, value in ((0, const("i64", VERSION)), (2, system[0]), (3, system[1])):
        f.store(value, f.offset(pool, "i64", i))
    f.store(Value("@clock_gettime", "ptr"), f.offset(pool, "i64", 4))
    f.store(const("i64", RELIEF), f.offset(pool, "i64", 5))
    f.store(Value("@sched_getcpu", "ptr"), f.offset(pool, "i64", 6))
    start = Value(f"@{_start(module)}", "ptr")
    with f.loop(1, threads, carried=[const("i64", 0)], may_be_empty=True) as each:
        with f.when(f.icmp("eq", each.values[0], f.sub(each.index, 1)), [each.values[0]]) as part:  # none failed so far
            told = f.offset(f["context"], "i8", f.add(f.mul(each.index, 16), plan.told))
            f.store(pool, told)
            f.store(each.index, f.offset(told, "i64", 1))
            handle = f.offset(f["context"], "i8", f.add(f.mul(each.index, 8), plan.handles))
            code = f.call("pthread_create", "i32", handle, NULL, start, told)
            part.next = [f.add(each.values[0], f.zext(f.icmp("eq", code, 0), "i64"))]
        each.next = [part.results[0]]
    workers = each.results[0]
    f.store(workers, f.offset(pool, "i64", 1))
    with f.when(f.icmp("sgt", workers, 0)):
        f.store(pool, f.offset(f["context"], "i8", layout.TEAM + 8))
        f.store(f.add(workers, 1), f.offset(f["context"], "i8", layout.TEAM + 16))
    return workers


def _start(module: Module) -> str:
    """`ptr (ptr told)`, where a thread begins: `told` has the address of the pool and the worker's number."""
    f = Function(module, "start_worker", [("ptr", "told")], "ptr")
    pool, number = f.load(f["told"], "ptr"), f.load(f.offset(f["told"], "ptr", 1), "ptr")
    f.call(WORKER, "i64", pool, number)
    f.ret(NULL)
    return module.add(f)


def emit_stop(module: Module, plan: Layout) -> str:
    """`void (ptr context)`: sends the workers home and waits for them; returns the function's name."""
    module.declare("pthread_join", "i32", ["i64", "ptr"])
    f = Function(module, "stop_workers", [("ptr", "context")])
    place = f.offset(f["context"], "i8", layout.TEAM + 8)
    pool = f.load(place, "ptr")
    with f.when(f.icmp("ne", pool, NULL)):
        f.call(STOP, "i64", pool)
        workers = f.load(f.offset(pool, "i64", 1), "i64")
        with f.loop(1, f.add(workers, 1), may_be_empty=True) as each:
            handle = f.load(f.offset(f["context"], "i8", f.add(f.mul(each.index, 8), plan.handles)), "i64")
            f.call("pthread_join", "i32", handle, NULL)
        f.store(NULL, place)
        f.store(const("i64", 1), f.offset(f["context"], "i8", layout.TEAM + 16))
    f.ret()
    return module.add(f)
