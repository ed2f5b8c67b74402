"""Where workers run: not on the CPU of the thread that calls them.

A system that has few CPUs and saw them in use does not always look for a free one when it wakes a worker, and leaves it
on the one it last had. If that is the caller's, which is at work itself, the two take turns and the step takes as long
as on one thread, call after call. So before a step is shared out and after the caller has moved, the workers are told
to use the caller's CPUs (its affinity) but for the one it is on. Workers for which there is no such CPU are left alone:
more threads than CPUs are the system's business.
"""

from __future__ import annotations

from graphc.codegen.llvm import Function, Module, Value, const

_MASK = 16  # words of 64 CPUs; with more the system refuses, and workers stay where they are
Numbers = tuple[int, int]
_GET, _SET = (204, 123), (203, 122)  # sched_getaffinity and sched_setaffinity: on x86-64, on aarch64


def emit_placement(module: Module, workers: int, syscall: int, lines: Numbers, thread: int) -> str:
    """`void (ptr pool, i32 cpu)`: keeps the workers away from a CPU.

    The arguments are bytes: in the pool, where the number of workers and the address of `syscall` lie; of the lines of
    workers 0, 1, .. the first and how long one is; in a line, the system's number of the thread (i32, 0: not yet).
    """
    f = Function(module, "team.place", [("ptr", "pool"), ("i32", "cpu")])
    mask = f.assign("ptr", f"alloca [{_MASK} x i64], align 8")
    get, set = (numbers[0 if module.target.is_x86 else 1] for numbers in (_GET, _SET))
    system = f.load(f.offset(f["pool"], "i8", syscall), "ptr")

    def call(number: int, thread: Value, size: Value) -> Value:
        return f.assign("i64", f"call i64 (i64, ...) {system.text}(i64 {number}, {thread}, {size}, {mask})")

    size = call(get, const("i32", 0), const("i64", 8 * _MASK))
    cpu = f.zext(f["cpu"], "i64")
    known = f.and_(f.icmp("ule", size, 8 * _MASK), f.icmp("ult", cpu, f.mul(size, 8)))  # errors are large, unsigned
    with f.when(known):
        word = f.offset(mask, "i64", f.lshr(cpu, 6))
        f.store(f.and_(f.load(word, "i64"), f.xor(f.shl(const("i64", 1), f.and_(cpu, 63)), -1)), word)
        with f.loop(0, f.lshr(size, 3), carried=[const("i64", 0)], may_be_empty=True) as each:
            found = f.intrinsic("llvm.ctpop", "i64", f.load(f.offset(mask, "i64", each.index), "i64"))
            each.next = [f.add(each.values[0], found)]
        others, count = each.results[0], f.load(f.offset(f["pool"], "i8", workers), "i64")
        last = f.select(f.icmp("slt", others, count), others, count)
        with f.loop(1, f.add(last, 1), may_be_empty=True) as worker:
            line = f.offset(f["pool"], "i8", f.add(f.mul(worker.index, lines[1]), lines[0]))
            number = f.assign("i32", f"load atomic i32, {f.offset(line, 'i8', thread)} seq_cst, align 4")
            with f.when(f.icmp("ne", number, 0)):
                call(set, number, size)
    f.ret()
    return module.add(f)
