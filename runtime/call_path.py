"""The runtime's side of calls made in native code (graphc/codegen/call_path.py has code, layout and conditions).

A model's methods first try the builtin made here, which takes a fraction of a microsecond and answers None for
whatever is not the common case; then the same is done in Python (`graphc.runtime.entry`). There is a builtin where the
code has one, the interpreter is CPython with its lock, and objects lie in memory as expected, which is looked at first.
"""

from __future__ import annotations

import ctypes
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from graphc.runtime.library import Library

PLANS = 8  # sets of shapes that the builtin knows
TRIALS = 3  # calls in Python with a set of shapes, before the builtin makes them
HOLD = 5_000  # ns of work above which other Python threads run meanwhile
KINDS = {"f32": 0, "f64": 1, "i64": 2, "i32": 3, "i8": 4, "u8": 5, "bool": 6}
_FASTCALL = 0x80
_FUNCTIONS = {
    "save_thread": "PyEval_SaveThread",
    "restore_thread": "PyEval_RestoreThread",
    "get_item": "PyDict_GetItemWithError",
    "dict_size": "PyDict_Size",
    "dict_new": "PyDict_New",
    "set_item": "PyDict_SetItem",
    "vectorcall": "PyObject_Vectorcall",
    "from_double": "PyFloat_FromDouble",
    "from_i64": "PyLong_FromLongLong",
    "from_bool": "PyBool_FromLong",
    "inc_ref": "Py_IncRef",
    "dec_ref": "Py_DecRef",
    "clear_error": "PyErr_Clear",
    "no_memory": "PyErr_NoMemory",
}
_OBJECTS: dict[str, Any] = {
    "empty": np.empty,
    "array_type": np.ndarray,
    "dict_type": dict,
    "none": None,
    "true": True,
    "false": False,
}
Builtin = Callable[[Any, dict[str, Any]], Any]


def _words(*names: str) -> list[tuple[str, Any]]:
    return [(name, ctypes.c_int64) for name in names]


class _Python(ctypes.Structure):
    _fields_ = _words(*_FUNCTIONS, *_OBJECTS)


class _Input(ctypes.Structure):
    _fields_ = _words("name", "dtype", "rank", "place", "array")


class _Output(ctypes.Structure):
    _fields_ = _words("name", "place", "array")


class _Figure(ctypes.Structure):
    _fields_ = _words("name", "address", "kind")


class _Plan(ctypes.Structure):
    _fields_ = _words("dims", "arena", "releases", "arguments", "sizes")


class _Record(ctypes.Structure):
    _fields_ = [
        *_words(
            "python", "entry", "table", "shared", "team", "low", "high", "counter", "advance", "inputs", "input_count",
            "outputs", "output_count", "shown", "figures", "figure_count", "plan_count",
        ),
        ("plans", ctypes.c_int64 * PLANS),
    ]  # fmt: skip
    held: list[Any]  # what its addresses point to: an instance has a dictionary, and the builtin holds the instance


class Shared(ctypes.Structure):
    """What the calls of a model share: the arena, whether a call runs, and the model's lock."""

    _fields_ = _words("arena", "size", "busy", "acquire", "release")


class _Method(ctypes.Structure):
    """CPython's PyMethodDef."""

    _fields_ = [
        ("name", ctypes.c_char_p),
        ("function", ctypes.c_void_p),
        ("flags", ctypes.c_int),
        ("doc", ctypes.c_char_p),
    ]


class NativePlan:
    """A set of shapes as the builtin reads it, and how long the entry takes with them."""

    def __init__(
        self,
        dims: Sequence[int],
        arena: int,
        fresh: Sequence[tuple[tuple[int, ...], np.dtype[Any]]],
        sizes: Sequence[int],
    ) -> None:
        """`dims` are the run-time sizes, `fresh` has shape and dtype of outputs.

        All that the builtin reads belongs to this object: an entry forgets plans that the builtin still knows.
        """
        self._dims = (ctypes.c_int64 * (len(dims) or 1))(*dims)
        self.dims = ctypes.addressof(self._dims)
        self._arguments = tuple(one for pair in fresh for one in pair)
        self._pointers = (ctypes.c_int64 * (len(self._arguments) or 1))(*map(id, self._arguments))
        self._sizes = (ctypes.c_int64 * (len(sizes) or 1))(*sizes)
        self._native = _Plan(self.dims, arena, 0, ctypes.addressof(self._pointers), ctypes.addressof(self._sizes))
        self.address = ctypes.addressof(self._native)
        self.is_known = False  # to the builtin, at present
        self.trials = 0
        self._fastest = 1 << 62

    def learn(self, nanoseconds: int) -> bool:
        """A call took so long; whether it has been tried enough."""
        self.trials += 1
        self._fastest = min(self._fastest, nanoseconds)
        self._native.releases = self._fastest > HOLD
        return self.trials >= TRIALS


class CallPath:
    """The builtin of one entry. `call(inputs, named)` gives the results, or None if Python has to do it."""

    def __init__(self, python: Any, library: Library, symbol: str) -> None:
        self._record = record = _Record(python=ctypes.addressof(python))
        method = _Method(b"call", library.address(symbol), _FASTCALL, None)
        self._known: list[NativePlan] = []
        record.held = [python, library, method, self._known]
        self.call: Builtin = _new_builtin()(ctypes.byref(method), record, None)

    def bind(
        self, entry: int, table: int, shared: Shared, team: int, slab: tuple[int, int], held: Sequence[Any]
    ) -> None:
        """Addresses of the entry, its table and team; the memory of variables; `held` keeps all of it alive."""
        record = self._record
        record.entry, record.table, record.shared, record.team = entry, table, ctypes.addressof(shared), team
        record.low, record.high = slab
        self._unused = ctypes.c_int64()
        record.counter = ctypes.addressof(self._unused)
        record.held += [shared, self._unused, *held]

    def takes(self, inputs: Sequence[tuple[str, np.dtype[Any], int, int]]) -> None:
        """Name, dtype, rank and address in the table of each input."""
        rows = [_Input(id(name), id(dtype), rank, place, 0) for name, dtype, rank, place in inputs]
        self._record.inputs, self._record.input_count = self._keep(_Input, rows), len(rows)
        self._record.held.append(list(inputs))

    def gives(
        self, outputs: Sequence[tuple[str, int]], are_shown: bool, figures: Sequence[tuple[str, int, str]]
    ) -> None:
        """Name and address in the table of fresh outputs, which are in the result or not; name, address, dtype."""
        made = [_Output(id(name), place, 0) for name, place in outputs]
        self._record.outputs, self._record.output_count = self._keep(_Output, made), len(made)
        self._record.shown = len(made) if are_shown else 0
        numbers = [_Figure(id(name), address, KINDS[dtype]) for name, address, dtype in figures]
        self._record.figures, self._record.figure_count = self._keep(_Figure, numbers), len(numbers)
        self._record.held += [list(outputs), list(figures)]

    def _keep(self, kind: Any, rows: Sequence[Any]) -> int:
        array = (kind * (len(rows) or 1))(*rows)
        self._record.held.append(array)
        return ctypes.addressof(array)

    def count_steps(self, counter: int) -> None:
        """Add one to the i64 at this address after each call."""
        self._record.counter, self._record.advance = counter, 1

    def remember(self, plan: NativePlan) -> None:
        """The builtin may make calls of this plan from now on; beyond PLANS the oldest one is left out."""
        if len(self._known) == PLANS:
            self._known.pop(0).is_known = False
        self._known.append(plan)
        plan.is_known = True
        self._record.plans[: len(self._known)] = [one.address for one in self._known]
        self._record.plan_count = len(self._known)


def call_path(library: Library, symbol: str | None) -> CallPath | None:
    """The builtin of the code; None if it has none or this Python is not one that it can live in."""
    python = _python() if symbol is not None else None
    return CallPath(python, library, symbol) if python is not None and symbol is not None else None


def never(inputs: Mapping[str, Any] | None, named: dict[str, Any]) -> None:
    """The builtin that leaves everything to Python."""


@cache
def _python() -> _Python | None:
    """The addresses of what the builtin needs; None where it cannot be used."""
    is_known = sys.implementation.name == "cpython" and "t" not in getattr(sys, "abiflags", "t")  # t: no global lock
    is_known = is_known and ctypes.sizeof(ctypes.c_void_p) == 8 and threading.RLock().acquire(False) is True
    if not (is_known and _arrays_are_known() and _structures_are_known()):
        return None
    try:
        found = {name: getattr(ctypes.pythonapi, symbol) for name, symbol in _FUNCTIONS.items()}
    except AttributeError:
        return None
    functions = {name: ctypes.cast(function, ctypes.c_void_p).value or 0 for name, function in found.items()}
    return _Python(**functions, **{name: id(value) for name, value in _OBJECTS.items()})


@cache
def _new_builtin() -> Any:
    make = ctypes.pythonapi.PyCFunction_NewEx
    make.restype = ctypes.py_object
    make.argtypes = (ctypes.c_void_p, ctypes.py_object, ctypes.c_void_p)
    return make


def _at(value: object, offset: int, kind: Any) -> int:
    return int(kind.from_address(id(value) + offset).value or 0)


def _arrays_are_known() -> bool:
    """Whether arrays have type, address, rank, sizes, dtype and flags where the builtin reads them."""
    base = np.arange(24, dtype=np.float32)
    probes: list[NDArray[Any]] = [base, base[3:], base.reshape(2, 3, 4), np.array(1.0), base.view(np.uint8)[::2]]
    probes += [
        np.zeros((2, 0), np.int64),
        base[:1].view(np.int32),
        base.view(">f4"),
        base.view(np.int8)[1:5].view("f4"),
    ]
    word = ctypes.c_void_p
    return object.__basicsize__ == 16 and all(
        _at(probe, 8, word) == id(type(probe))
        and _at(probe, 16, word) == probe.ctypes.data
        and _at(probe, 24, ctypes.c_int) == probe.ndim
        and [ctypes.c_int64.from_address(_at(probe, 32, word) + 8 * i).value for i in range(probe.ndim)]
        == list(probe.shape)
        and _at(probe, 56, word) == id(probe.dtype)
        and _at(probe, 64, ctypes.c_int) == probe.flags.num
        for probe in probes
    )


def _structures_are_known() -> bool:
    """Whether a ctypes structure has the address of its memory where the builtin reads it."""
    records = [_Record(), _Record()]
    return all(_at(record, 16, ctypes.c_void_p) == ctypes.addressof(record) for record in records)
