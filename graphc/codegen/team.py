"""The native side of threads: how a step forks, meets and parks. graphc/runtime/threads.py owns the memory.

One pool a process; its workers wait in `graphc_worker`. A step forks once: the same function then runs on all threads
(it is told which of how many it is) and they meet at barriers. A worker reports back from the code it waits in, which
the pool keeps, so that a step's own code can be unloaded when the step is over. Whoever waits turns
round for a bounded time, then sleeps in the kernel (futex), so that a parked thread uses no CPU. Nothing is called by
name: the addresses of the system's functions lie in the pool, and where there are none the runtime makes no pool.

    team  (one a model)   0 version   8 pool   16 threads   24 nanoseconds to turn round before sleeping
                         32 whether the pool has been asked for (graphc/codegen/call_path.py)
                         64 the account of each entry (graphc.codegen.account)
    pool                  0 version   8 workers   16 syscall   24 number of futex   32 clock_gettime   40 relief
                         48 sched_getcpu   56 for which CPU of the caller (i32), 60 and how many workers (i32) these
                            have been placed (graphc/codegen/placement.py)
                         64 lock: 1 while a step, or the end, has the workers
                        128 job: function, table, dims, arena, threads, nanoseconds
                        192 arrived at the barrier (i32)   256 barriers passed (i32), 260 sleeping there (i32)
                        320 workers still at the job (i32), 324 whether its caller sleeps (i32)
                        384 forks
    worker i >= 1   384 + 64 * i: jobs begun (i32), sleeping (i32), stop (i32), number of the thread (i32), jobs done

The lock is only tried: if the workers are busy with another model's step, a step runs on its caller's thread alone, to
the same bits. It also does for a while if it was slower on several threads: its account tells.
"""

from __future__ import annotations

from graphc.codegen.account import Account, account_of
from graphc.codegen.llvm import Function, Index, Module, Value, const
from graphc.codegen.placement import emit_placement

VERSION = 3
WORKER, STOP = "graphc_worker", "graphc_stop"  # what the runtime calls
_RUN, _BARRIER = "team.run", "team.barrier"  # what entries call
BODY = (("ptr", "table"), ("ptr", "dims"), ("ptr", "arena"), ("ptr", "pool"), ("i64", "index"), ("i64", "count"),
        ("i64", "patience"))  # the parameters of a function that runs on all threads  # fmt: skip

_WORKERS, _SYSCALL, _FUTEX, _CLOCK, _RELIEF, _CPU, _PLACED = 8, 16, 24, 32, 40, 48, 56
_LOCK, _JOB, _ARRIVED, _PASSED, _SLEEPING = 64, 128, 192, 256, 260
_BUSY, _CALLER_SLEEPS, _FORKS = 320, 324, 384
_LINE = 64
_WORD, _ASLEEP, _STOP, _THREAD, _DONE = 0, 4, 8, 12, 16  # of a worker's line
_GETTID = 186, 178  # on x86-64, on aarch64
_TURNS = 64  # looks at a word between looks at the clock
_MONOTONIC = 1
NULL = Value("null", "ptr")
_WAIT, _WAKE, _ALL = 128, 129, 0x7FFFFFFF  # FUTEX_WAIT and FUTEX_WAKE, private to the process


def emit_team(module: Module) -> None:
    """Adds what the runtime calls, once: the worker's loop and the end of the pool."""
    if module.alone and "team" not in module.kernels:
        module.kernels["team"] = (_worker(module), _stop(module))


def emit_whole_team(module: Module) -> tuple[str, str]:
    """Adds all of it; returns the names of the functions that modules which are not alone call."""
    emit_team(module)
    return _run(module), _barrier(module)


def _worker(module: Module) -> str:
    """`i64 graphc_worker(ptr pool, i64 index)`: runs jobs until it is told to stop."""
    f = Function(module, WORKER, [("ptr", "pool"), ("ptr", "number")], "i64", internal=False)
    line = _line(f, f["pool"], f.ptrtoint(f["number"], "i64"))
    word, asleep = line, f.offset(line, "i8", _ASLEEP)
    job = f.offset(f["pool"], "i8", _JOB)
    patience = f.offset(job, "i64", 5)
    _introduce(f, line)
    begin, run, end = f.fresh("wait"), f.fresh("run"), f.fresh("end")
    start, latch = f.block, f.fresh("latch")
    f.jump(begin)
    f.begin(begin)
    seen, now = Value("%seen", "i32"), Value("%now", "i32")
    f.emit(f"{seen.text} = phi i32 [ 0, %{start} ], [ {now.text}, %{latch} ]")
    number = f.ptrtoint(f["number"], "i64")
    arguments = ", ".join(map(str, (f["pool"], word, asleep, seen, f.load(patience, "i64"))))
    f.emit(f"{now.text} = call i32 @{_await(module)}({arguments})")
    told = f.assign("i32", f"load atomic i32, {f.offset(line, 'i8', _STOP)} acquire, align 4")
    f.branch(f.icmp("ne", told, 0), end, run)
    f.begin(run)
    body = f.load(job, "ptr")
    table, dims, arena = (f.load(f.offset(job, "i64", i), "ptr") for i in (1, 2, 3))
    count = f.load(f.offset(job, "i64", 4), "i64")
    done = f.offset(line, "i8", _DONE)
    f.store(f.add(f.load(done, "i64"), 1), done)
    arguments = ", ".join(map(str, (table, dims, arena, f["pool"], number, count, f.load(patience, "i64"))))
    f.emit(f"call void {body.text}({arguments})")
    busy = f.offset(f["pool"], "i8", _BUSY)
    before = f.assign("i32", f"atomicrmw sub {busy}, i32 1 seq_cst, align 4")
    with f.when(f.icmp("eq", before, 1)):
        _wake(f, f["pool"], busy, f.offset(f["pool"], "i8", _CALLER_SLEEPS))
    f.jump(latch)
    f.begin(latch)
    f.jump(begin)
    f.begin(end)
    f.ret(const("i64", 0))
    return module.add(f)


def _introduce(f: Function, line: Value) -> None:
    """Says which thread of the system this worker is; a caller that came earlier has not placed it, so none has."""
    system = f.load(f.offset(f["pool"], "i8", _SYSCALL), "ptr")
    get = _GETTID[0 if f.target.is_x86 else 1]
    thread = f.trunc(f.assign("i64", f"call i64 (i64, ...) {system.text}(i64 {get})"), "i32")
    f.emit(f"store atomic {thread}, {f.offset(line, 'i8', _THREAD)} seq_cst, align 4")
    f.emit(f"store atomic i64 0, {f.offset(f['pool'], 'i8', _PLACED)} seq_cst, align 8")


def _stop(module: Module) -> str:
    """`i64 graphc_stop(ptr pool)`: takes the workers for good and sends them home; 0 if they are busy."""
    f = Function(module, STOP, [("ptr", "pool")], "i64", internal=False)
    with f.when(f.xor(_try_lock(f, f["pool"]), 1)):
        f.ret(const("i64", 0))
        f.begin(f.fresh("dead"))
    with f.loop(1, f.add(f.load(f.offset(f["pool"], "i64", 1), "i64"), 1), may_be_empty=True) as each:
        line = _line(f, f["pool"], each.index)
        f.emit(f"store atomic i32 1, {f.offset(line, 'i8', _STOP)} seq_cst, align 4")
        _advance(f, f["pool"], line, f.offset(line, "i8", _ASLEEP))
    f.ret(const("i64", 1))
    return module.add(f)


def emit_run(
    f: Function, module: Module, team: Value, body: str, given: tuple[Value, Value, Value], entry: int, cost: Value
) -> None:
    """Runs `body` (see `BODY`) on the team's threads, or on this one alone; `given` are table, dims and arena.

    `entry` is the number of its account (graphc.codegen.account), `cost` what it is estimated to take (i64).
    """
    account = f.offset(team, "i8", account_of(entry))
    f.call(_run(module), "void", team, Value(f"@{body}", "ptr"), *given, account, cost)


def _run(module: Module) -> str:
    """`void (ptr team, ptr body, ptr table, ptr dims, ptr arena, ptr account, i64 cost)`."""
    params = [("ptr", name) for name in ("team", "body", "table", "dims", "arena", "account")]
    params += [("i64", "cost")]
    if not module.alone:
        return module.declare(_RUN, "void", [type for type, _ in params], hidden=True)
    f = Function(module, _RUN, params)
    none, have, several, alone, share, busy, go = map(
        f.fresh, ("none", "have", "several", "alone", "share", "busy", "go")
    )
    f.branch(f.icmp("eq", f["team"], NULL), none, have)
    f.begin(have)
    pool, count, patience = (f.load(f.offset(f["team"], "i64", i), t) for i, t in ((1, "ptr"), (2, "i64"), (3, "i64")))
    fits = f.and_(f.icmp("eq", f.load(f["team"], "i64"), VERSION), f.icmp("ne", pool, NULL))
    f.branch(f.and_(fits, f.icmp("sgt", count, 1)), several, none)
    f.begin(none)
    _call_alone(f)
    f.ret()
    f.begin(several)
    clock = f.assign("ptr", "alloca [2 x i64], align 8")
    account = Account(f, f["account"], f.load(f.offset(pool, "i8", _RELIEF), "i64"))
    begun = _now(f, pool, clock)
    f.branch(account.is_for_one(), alone, share)
    f.begin(alone)
    _call_alone(f)
    account.measured(f["cost"], f.sub(_now(f, pool, clock), begun))
    f.ret()
    f.begin(share)
    f.branch(_try_lock(f, pool), go, busy)
    f.begin(busy)
    account.refused()
    _call_alone(f)
    f.ret()
    f.begin(go)
    _share(f, module, pool, count, patience)
    account.shared(f["cost"], f.sub(_now(f, pool, clock), begun))
    f.emit(f"store atomic i32 0, {f.offset(pool, 'i8', _LOCK)} release, align 4")
    f.ret()
    return module.add(f)


def _call_alone(f: Function) -> None:
    given = ", ".join(map(str, (f["table"], f["dims"], f["arena"], NULL, *(const("i64", n) for n in (0, 1, 0)))))
    f.emit(f"call void {f['body'].text}({given})")


def _share(f: Function, module: Module, pool: Value, count: Value, patience: Value) -> None:
    """Tells the workers what to run, runs a part of it and waits for theirs."""
    _place(f, module, pool)
    job = f.offset(pool, "i8", _JOB)
    for i, value in enumerate((f["body"], f["table"], f["dims"], f["arena"], count, patience)):
        f.store(value, f.offset(job, "i64", i))
    forks = f.offset(pool, "i8", _FORKS)
    f.store(f.add(f.load(forks, "i64"), 1), forks)
    busy = f.offset(pool, "i8", _BUSY)
    f.emit(f"store atomic i32 {f.trunc(f.sub(count, 1), 'i32').text}, {busy} release, align 4")
    with f.loop(1, count) as each:
        line = _line(f, pool, each.index)
        _advance(f, pool, line, f.offset(line, "i8", _ASLEEP))
    given = ", ".join(map(str, (f["table"], f["dims"], f["arena"], pool, const("i64", 0), count, patience)))
    f.emit(f"call void {f['body'].text}({given})")
    _join(f, module, pool, busy, patience)


def _place(f: Function, module: Module, pool: Value) -> None:
    """Keeps the workers away from this thread's CPU, if it is another or there are other workers than at the last call.

    What has been done is written before the numbers of threads are read, as `_introduce` writes its number first: one
    of the two sees the other.
    """
    function = f.load(f.offset(pool, "i8", _CPU), "ptr")
    with f.when(f.icmp("ne", function, NULL)):
        cpu = f.assign("i32", f"call i32 {function.text}()")
        workers = f.load(f.offset(pool, "i8", _WORKERS), "i64")
        wanted = f.or_(f.shl(workers, 32), f.zext(cpu, "i64"))
        placed = f.offset(pool, "i8", _PLACED)
        before = f.assign("i64", f"load atomic i64, {placed} monotonic, align 8")
        with f.when(f.icmp("ne", before, wanted), cold=True):
            f.emit(f"store atomic {wanted}, {placed} seq_cst, align 8")
            place = emit_placement(module, _WORKERS, _SYSCALL, (_FORKS, _LINE), _THREAD)
            f.call(place, "void", pool, cpu)


def _join(f: Function, module: Module, pool: Value, busy: Value, patience: Value) -> None:
    """Waits until no worker is at the job any more."""
    look, wait, joined = f.fresh("look"), f.fresh("wait"), f.fresh("joined")
    f.jump(look)
    f.begin(look)
    left = f.assign("i32", f"load atomic i32, {busy} acquire, align 4")
    f.branch(f.icmp("eq", left, 0), joined, wait)
    f.begin(wait)
    f.call(_await(module), "i32", pool, busy, f.offset(pool, "i8", _CALLER_SLEEPS), left, patience)
    f.jump(look)
    f.begin(joined)


def emit_barrier(f: Function, module: Module) -> None:
    """In a function that runs on all threads: waits until all have come here."""
    f.call(_barrier(module), "void", f["pool"], f["count"], f["patience"])


def _barrier(module: Module) -> str:
    """`void (ptr pool, i64 count, i64 patience)`: the last to come frees all."""
    params = [("ptr", "pool"), ("i64", "count"), ("i64", "patience")]
    if not module.alone:
        return module.declare(_BARRIER, "void", [type for type, _ in params], hidden=True)
    f = Function(module, _BARRIER, params)
    with f.when(f.icmp("eq", f["count"], 1)):
        f.ret()
        f.begin(f.fresh("dead"))
    passed, sleeping = f.offset(f["pool"], "i8", _PASSED), f.offset(f["pool"], "i8", _SLEEPING)
    arrived = f.offset(f["pool"], "i8", _ARRIVED)
    seen = f.assign("i32", f"load atomic i32, {passed} acquire, align 4")
    before = f.assign("i32", f"atomicrmw add {arrived}, i32 1 acq_rel, align 4")
    with f.when(f.icmp("eq", f.add(before, 1), f.trunc(f["count"], "i32"))):
        f.emit(f"store atomic i32 0, {arrived} monotonic, align 4")
        _advance(f, f["pool"], passed, sleeping)
        f.ret()
        f.begin(f.fresh("dead"))
    f.call(_await(module), "i32", f["pool"], passed, sleeping, seen, f["patience"])
    f.ret()
    return module.add(f)


def _await(module: Module) -> str:
    """`i32 (ptr pool, ptr word, ptr sleeping, i32 seen, i64 patience)`: the word once it is not `seen`.

    Short waits do not read the clock.
    """
    params = [("ptr", "pool"), ("ptr", "word"), ("ptr", "sleeping"), ("i32", "seen"), ("i64", "patience")]
    f = Function(module, "team.await", params, "i32")
    clock = f.assign("ptr", "alloca [2 x i64], align 8")
    again, park, changed = (f.fresh(x) for x in ("again", "park", "changed"))
    _turn_round(f, changed)
    begun = _now(f, f["pool"], clock)
    f.jump(again)
    f.begin(again)
    _turn_round(f, changed)
    f.branch(f.icmp("slt", f.sub(_now(f, f["pool"], clock), begun), f["patience"]), again, park)
    f.begin(park)
    f.assign("i32", f"atomicrmw add {f['sleeping']}, i32 1 seq_cst, align 4")
    with f.when(f.icmp("eq", _look(f, "seq_cst"), f["seen"])):
        _futex(f, f["pool"], f["word"], _WAIT, f["seen"])
    f.assign("i32", f"atomicrmw sub {f['sleeping']}, i32 1 seq_cst, align 4")
    f.branch(f.icmp("eq", _look(f, "acquire"), f["seen"]), park, changed)
    f.begin(changed)
    f.ret(_look(f, "acquire"))
    return module.add(f)


def _turn_round(f: Function, changed: str) -> None:
    """Looks at the word for about a microsecond; on to the block `changed` when it is another."""
    pause = "llvm.x86.sse2.pause" if f.target.is_x86 else "llvm.aarch64.hint"
    hint = [] if f.target.is_x86 else [const("i32", 1)]  # 1 is yield
    f.module.declare(pause, "void", [value.type for value in hint])
    with f.loop(0, _TURNS):
        still = f.fresh("still")
        f.branch(f.icmp("eq", _look(f, "acquire"), f["seen"]), still, changed)
        f.begin(still)
        f.call(pause, "void", *hint)


def _look(f: Function, order: str) -> Value:
    return f.assign("i32", f"load atomic i32, {f['word']} {order}, align 4")


def _now(f: Function, pool: Value, clock: Value) -> Value:
    """Nanoseconds on a clock that only goes forward."""
    function = f.load(f.offset(pool, "i8", _CLOCK), "ptr")
    f.assign("i32", f"call i32 {function.text}(i32 {_MONOTONIC}, {clock})")
    return f.add(f.mul(f.load(clock, "i64"), 1_000_000_000), f.load(f.offset(clock, "i64", 1), "i64"))


def _advance(f: Function, pool: Value, word: Value, sleeping: Value) -> None:
    """Adds one to a word and wakes who sleeps on it."""
    f.assign("i32", f"atomicrmw add {word}, i32 1 seq_cst, align 4")
    _wake(f, pool, word, sleeping)


def _wake(f: Function, pool: Value, word: Value, sleeping: Value) -> None:
    """Wakes who sleeps on a word that has changed. Sleepers count themselves before they look a last time."""
    asleep = f.assign("i32", f"load atomic i32, {sleeping} seq_cst, align 4")
    with f.when(f.icmp("ne", asleep, 0)):
        _futex(f, pool, word, _WAKE, const("i32", _ALL))


def _futex(f: Function, pool: Value, word: Value, operation: int, number: Value) -> None:
    function = f.load(f.offset(pool, "i8", _SYSCALL), "ptr")
    futex = f.load(f.offset(pool, "i8", _FUTEX), "i64")
    rest = f"i32 {operation}, {number}, ptr null, ptr null, i32 0"
    f.assign("i64", f"call i64 (i64, ...) {function.text}({futex}, {word}, {rest})")


def _try_lock(f: Function, pool: Value) -> Value:
    """i1: whether the lock was free and is now ours."""
    lock = f.offset(pool, "i8", _LOCK)
    both = f.assign("{ i32, i1 }", f"cmpxchg {lock}, i32 0, i32 1 acquire monotonic, align 4")
    return f.assign("i1", f"extractvalue {both}, 1")


def _line(f: Function, pool: Value, number: Index) -> Value:
    return f.offset(pool, "i8", f.add(f.mul(number, _LINE), _FORKS))
