"""The account of an entry: what several threads saved it or cost it, by which it is decided on how many it runs.

Whether more threads are faster is measured, not guessed: other processes may need the CPUs, the caches of one core may
hold what the other wants, and an estimate of the work is coarse. A run on one thread tells what a unit of estimated
work takes there; it is done now and then (one part in 2**`_MEASURED` of the time). A run on several threads is credited
with what it took less than that, or debited with what it took more. If the account is overdrawn, the entry runs alone
for so many times the debt that the loss is a small part of the time, and for longer each time that a trial fails. What
has been saved is credit: it outlasts a disturbance of some milliseconds, and there is credit at the beginning.

Only the time of runs counts, not that between them. An account lies in the memory of a team, which one thread at a time
uses; when all is 0 it is new:

     0 nanoseconds of a unit of work on one thread (f64; 0: not known)    8 nanoseconds of credit used up, negative
    16 ns to run alone yet   24 ns to run shared before the next measurement   32 trials in a row that failed
    64 runs on several threads   72 runs alone to measure   80 runs alone as that is faster
    88 runs alone as another model had the workers
"""

from __future__ import annotations

from graphc.codegen.llvm import Function, Index, Value, const

ACCOUNTS, ACCOUNT = 64, 128  # bytes: before the accounts in a team, of one of them
_UNIT, _USED, _ALONE, _UNMEASURED, _FAILED = 0, 8, 16, 24, 32
_SHARED, _MEASURED_RUNS, _RELIEVED, _REFUSED = 64, 72, 80, 88

_MEASURED = 6  # alone for one in 2**6 parts of the time, more often at first
_CREDIT = 20_000_000  # ns
_TRIAL = 4  # runs on one thread whose time may be lost besides, also when there is no credit
_LONG, _DOUBLED = 200_000_000, 8  # ns to run alone after many trials that failed; how often it is doubled till then
_LONGEST, _LONGEST_RUNS = 1_000_000_000, 128  # ns and runs to run alone at most: the process may have been stopped


def account_of(entry: int) -> int:
    """Where an entry's account lies in a team."""
    return ACCOUNTS + ACCOUNT * entry


class Account:
    """Code that reads and writes the account at an address; `relief` (i64) is for how many times a debt to run alone.

    A relief of 0 stands for no account at all: always on several threads.
    """

    def __init__(self, f: Function, address: Value, relief: Value) -> None:
        self.f, self.address, self.relief = f, address, relief

    def is_for_one(self) -> Value:
        """i1: whether to run on one thread now. The first run is for all."""
        f = self.f
        measured = f.and_(f.icmp("sle", self._get(_UNMEASURED), 0), f.icmp("ne", self._get(_SHARED), 0))
        return f.and_(f.or_(f.icmp("sgt", self._get(_ALONE), 0), measured), f.icmp("ne", self.relief, 0))

    def measured(self, cost: Value, spent: Value) -> None:
        """After a run on one thread: what a unit of work takes is a mean in which later runs count more."""
        f = self.f
        found, old = f.fdiv(self._float(spent), self._float(cost)), self._unit()
        limited = f.minimum(found, f.fmul(old, 2.0))  # a run may have been interrupted
        mean = f.fadd(old, f.fmul(f.fsub(limited, old), 0.25))
        f.store(f.select(f.fcmp("oeq", old, 0.0), found, mean), self.address)
        times, left = self._get(_MEASURED_RUNS), self._get(_ALONE)
        soon = f.select(f.icmp("slt", times, _MEASURED - 2), f.add(times, 2), _MEASURED)
        self._set(_UNMEASURED, f.shl(spent, soon))
        relieved = f.icmp("sgt", left, 0)
        self._set(_ALONE, f.select(relieved, f.sub(left, spent), 0))
        self._count(_RELIEVED, f.zext(relieved, "i64"))
        self._count(_MEASURED_RUNS, f.zext(f.xor(relieved, 1), "i64"))

    def shared(self, cost: Value, spent: Value) -> None:
        """After a run on several threads: the books are kept if it is known what one takes."""
        f = self.f
        self._count(_SHARED)
        self._set(_UNMEASURED, f.sub(self._get(_UNMEASURED), spent))
        alone = f.fptosi(f.fmul(self._unit(), self._float(cost)), "i64")
        with f.when(f.icmp("sgt", alone, 0)):
            used = self._least(f.add(self._get(_USED), f.sub(alone, spent)), const("i64", 0))
            self._set(_USED, used)
            with f.when(f.icmp("sgt", used, -_CREDIT // 2)):
                self._set(_FAILED, const("i64", 0))
            debt = f.sub(-_CREDIT, used)
            with f.when(f.icmp("sgt", debt, f.mul(alone, _TRIAL))):
                self._relieve(debt, f.add(f.mul(alone, _LONGEST_RUNS), _LONGEST))

    def _relieve(self, debt: Value, longest: Value) -> None:
        """To run alone; the credit is used up, but not overdrawn any more."""
        f = self.f
        failed = self._get(_FAILED)
        owed = self._least(f.mul(self._least(debt, longest), self.relief), longest)
        again = self._least(f.shl(owed, self._least(failed, const("i64", _DOUBLED))), const("i64", _LONG))
        self._set(_ALONE, f.select(f.icmp("sgt", again, owed), again, owed))
        self._set(_USED, const("i64", -_CREDIT))
        self._count(_FAILED)

    def refused(self) -> None:
        """Before a run on one thread for want of workers."""
        self._count(_REFUSED)

    def _least(self, a: Value, b: Value) -> Value:
        return self.f.select(self.f.icmp("slt", a, b), a, b)

    def _float(self, number: Value) -> Value:
        return self.f.sitofp(number, "double")

    def _unit(self) -> Value:
        return self.f.load(self.address, "double")

    def _count(self, field: int, by: Index = 1) -> None:
        self._set(field, self.f.add(self._get(field), by))

    def _get(self, field: int) -> Value:
        return self.f.load(self.f.offset(self.address, "i8", field), "i64")

    def _set(self, field: int, value: Value) -> None:
        self.f.store(value, self.f.offset(self.address, "i8", field))
