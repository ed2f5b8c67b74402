"""The native side of a call from Python: arguments are checked, the entry is run, results are made, all in one builtin.

`graphc_call(self, args, count)` is a CPython function by the convention METH_FASTCALL. It knows nothing of a model:
`self` is a `ctypes` structure (`graphc.runtime.call_path`), whose memory is the record of an entry. Nor does the code
name anything of Python: the addresses of the functions it needs lie in the table `python`. Every field is 8 bytes:

    record   python entry table shared team low high counter advance inputs #inputs outputs #outputs shown
             figures #figures #plans plans[PLANS]
    shared   arena, its bytes, whether a call runs, the methods acquire and release of the model's lock
    input    name, dtype, rank, its place in the table, the array of the call that runs
    output   name, its place in the table, the array of the call that runs
    figure   name, address, kind (0 f32, 1 f64, 2 i64, 3 i32, 4 i8, 5 u8, 6 bool)
    plan     dims, bytes of arena, whether to let other Python threads run, arguments of `numpy.empty` for each output,
             all sizes of all inputs

The two arguments are those of a Python method f(inputs=None, /, **named): None and the dictionary of named arguments,
or a dictionary and an empty one. The call is made if the lock is free and no call runs, if every input is an array of
exactly NumPy's type and of its dtype, contiguous, aligned, outside of the memory from `low` to `high`, and if a plan
has these shapes. The result is then a dictionary of figures and of the first `shown` outputs. In every other case, and
when the entry reports an error (it has written nothing then), the result is None and nothing has happened: the runtime
does it all again in Python, with conversions and words for what is wrong.

Arrays are looked at after all that could run Python code (lookups and allocations, through their hooks and the
collector); from then on only the entry runs. Their references are held meanwhile.
"""

from __future__ import annotations

from graphc.codegen.llvm import Function, Index, Module, Value, const

SYMBOL = "graphc_call"
PLANS = 8
_PYTHON = (
    "save_thread", "restore_thread", "get_item", "dict_size", "dict_new", "set_item", "vectorcall", "from_double",
    "from_i64", "from_bool", "inc_ref", "dec_ref", "clear_error", "no_memory", "empty", "array_type", "dict_type",
    "none", "true", "false",
)  # fmt: skip
_RECORD = (
    "python", "entry", "table", "shared", "team", "low", "high", "counter", "advance", "inputs", "input_count",
    "outputs", "output_count", "shown", "figures", "figure_count", "plan_count", "plans",
)  # fmt: skip
_SHARED = ("arena", "size", "busy", "acquire", "release")
_INPUT = ("name", "dtype", "rank", "place", "array")
_OUTPUT = ("name", "place", "array")
_FIGURE = ("name", "address", "kind")
_PLAN = ("dims", "arena", "releases", "arguments", "sizes")
_READY = 32  # of a team (graphc/codegen/team.py), in bytes
_TYPE, _MEMORY = 8, 16  # bytes: in every Python object; in an array and in a ctypes structure
_RANK, _SIZES, _DTYPE, _FLAGS = 24, 32, 56, 64  # in an array
_CONTIGUOUS_AND_ALIGNED = 0x0001 | 0x0100
_NULL = Value("null", "ptr")


class _Words:
    """Fields of 8 bytes by name, in memory at a pointer; `number` counts records of the same fields."""

    def __init__(self, f: Function, base: Value, names: tuple[str, ...], number: Index = 0) -> None:
        self._f, self._names = f, names
        self._base = f.offset(base, "i64", f.mul(number, len(names)) if isinstance(number, Value) else number)

    def at(self, name: str) -> Value:
        return self._f.offset(self._base, "i64", self._names.index(name))

    def load(self, name: str, type: str = "ptr") -> Value:
        return self._f.load(self.at(name), type)

    def call(self, name: str, returns: str, *args: Value) -> Value:
        """Calls the function whose address the field holds."""
        text = f"call {returns} {self.load(name).text}({', '.join(map(str, args))})"
        if returns == "void":
            self._f.emit(text)
            return const("i64", 0)
        return self._f.assign(returns, text)


def emit_call(module: Module) -> str:
    """Adds the builtin to the module; returns its symbol."""
    f = Function(
        module, SYMBOL, [("ptr", "self"), ("ptr", "args"), ("i64", "count")], "ptr", internal=False, plain=True
    )
    memory = f.load(f.offset(f["self"], "i8", _MEMORY), "ptr")
    record = _Words(f, memory, _RECORD)
    python, shared = _Words(f, record.load("python"), _PYTHON), _Words(f, record.load("shared"), _SHARED)
    refuse, locked = f.fresh("refuse"), f.fresh("locked")
    given = _mapping(f, record, python, refuse)
    answer = python.call(
        "vectorcall", "ptr", shared.load("acquire"), python.at("false"), const("i64", 1), _NULL
    )  # acquire(False)
    is_ours = f.icmp("eq", answer, python.load("true"))
    _forget(f, python, answer)
    f.branch(is_ours, locked, refuse)
    f.begin(locked)
    ready = f.load(f.offset(record.load("team"), "i8", _READY), "i64")
    is_free = f.and_(f.icmp("eq", shared.load("busy", "i64"), 0), f.icmp("ne", ready, 0))
    with f.when(is_free, [_NULL, const("i1", 0)]) as called:
        f.store(const("i64", 1), shared.at("busy"))
        plan = f.call(_prepare(module), "ptr", memory, given)
        with f.when(f.icmp("ne", plan, _NULL), [_NULL, const("i1", 0)]) as ran:
            is_done = f.icmp("eq", _run(f, record, python, shared, plan), 0)
            with f.when(is_done, [_NULL]) as made:
                made.next = [f.call(_results(module), "ptr", memory)]
            ran.next = [made.results[0], is_done]
        f.call(_drop(module), "void", memory)
        f.store(const("i64", 0), shared.at("busy"))
        called.next = ran.results
    result, is_done = called.results
    _forget(f, python, python.call("vectorcall", "ptr", shared.load("release"), _NULL, const("i64", 0), _NULL))
    with f.when(f.icmp("ne", result, _NULL)):
        f.ret(result)
        f.begin(f.fresh("dead"))
    with f.when(is_done, cold=True):  # it was made, but there is no memory for the result
        f.ret(python.call("no_memory", "ptr"))
        f.begin(f.fresh("dead"))
    f.jump(refuse)
    f.begin(refuse)
    python.call("inc_ref", "void", python.load("none"))
    f.ret(python.load("none"))
    return module.add(f)


def _mapping(f: Function, record: _Words, python: _Words, refuse: str) -> Value:
    """The dictionary of arguments: the second one if the first is None, or the first one if the second is empty."""
    two, full, mapping = f.fresh("two"), f.fresh("full"), f.fresh("mapping")
    f.branch(f.icmp("eq", f["count"], 2), two, refuse)
    f.begin(two)
    inputs, named = f.load(f["args"], "ptr"), f.load(f.offset(f["args"], "ptr", 1), "ptr")
    by_name = f.icmp("eq", inputs, python.load("none"))
    given = f.select(by_name, named, inputs)
    are_dicts = [
        f.icmp("eq", f.load(f.offset(one, "i8", _TYPE), "ptr"), python.load("dict_type")) for one in (given, named)
    ]
    f.branch(f.and_(*are_dicts), full, refuse)
    f.begin(full)
    has_all = f.icmp("eq", python.call("dict_size", "i64", given), record.load("input_count", "i64"))
    is_only = f.or_(by_name, f.icmp("eq", python.call("dict_size", "i64", named), 0))
    f.branch(f.and_(has_all, is_only), mapping, refuse)
    f.begin(mapping)
    return given


def _forget(f: Function, python: _Words, value: Value) -> None:
    """Gives a reference back, if there is one."""
    with f.when(f.icmp("ne", value, _NULL)):
        python.call("dec_ref", "void", value)


def _run(f: Function, record: _Words, python: _Words, shared: _Words, plan: Value) -> Value:
    """Runs the entry: its code; other threads of Python run meanwhile if the plan says so. Counts the step."""
    chosen = _Words(f, plan, _PLAN)
    releases = f.icmp("ne", chosen.load("releases", "i64"), 0)
    with f.when(releases, [_NULL]) as let:
        let.next = [python.call("save_thread", "ptr")]
    arguments = record.load("table"), chosen.load("dims"), shared.load("arena"), record.load("team")
    code = record.call("entry", "i64", *arguments)
    with f.when(releases):
        python.call("restore_thread", "void", let.results[0])
    with f.when(f.icmp("eq", code, 0)):
        counter = record.load("counter")
        f.store(f.add(f.load(counter, "i64"), record.load("advance", "i64")), counter)
    return code


def _prepare(module: Module) -> str:
    """`ptr (record, dictionary)`: the plan of the inputs, with all addresses in the table; null if it cannot be."""
    f = Function(module, "call.prepare", [("ptr", "record"), ("ptr", "given")], "ptr", plain=True)
    record = _Words(f, f["record"], _RECORD)
    python = _Words(f, record.load("python"), _PYTHON)
    with f.loop(0, record.load("input_count", "i64"), may_be_empty=True) as each:
        one = _Words(f, record.load("inputs"), _INPUT, each.index)
        value = python.call("get_item", "ptr", f["given"], one.load("name"))
        _give_up(f, python, f.icmp("eq", value, _NULL))
        python.call("inc_ref", "void", value)
        f.store(value, one.at("array"))
    plan = f.call(_find(module), "ptr", f["record"])
    _give_up(f, python, f.icmp("eq", plan, _NULL))
    chosen = _Words(f, plan, _PLAN)
    outputs = record.load("output_count", "i64")
    with f.loop(0, outputs, may_be_empty=True) as each:
        out = _Words(f, record.load("outputs"), _OUTPUT, each.index)
        arguments = f.offset(chosen.load("arguments"), "i64", f.mul(each.index, 2))
        value = python.call("vectorcall", "ptr", python.load("empty"), arguments, const("i64", 2), _NULL)
        _give_up(f, python, f.icmp("eq", value, _NULL))
        f.store(value, out.at("array"))
        f.store(f.load(f.offset(value, "i8", _MEMORY), "ptr"), out.load("place"))
    with f.when(f.icmp("ne", outputs, 0)):  # the collector may have run finalisers
        _give_up(f, python, f.xor(f.call(_fits(module), "i1", f["record"], plan), 1))
    shared = _Words(f, record.load("shared"), _SHARED)
    _give_up(f, python, f.icmp("sgt", chosen.load("arena", "i64"), shared.load("size", "i64")))
    f.ret(plan)
    return module.add(f)


def _give_up(f: Function, python: _Words, condition: Value) -> None:
    """Returns null if the condition holds, without an exception."""
    with f.when(condition, cold=True):
        python.call("clear_error", "void")
        f.ret(_NULL)
        f.begin(f.fresh("dead"))


def _find(module: Module) -> str:
    """`ptr (record)`: the plan that fits the inputs, or null."""
    f = Function(module, "call.find", [("ptr", "record")], "ptr", plain=True)
    record = _Words(f, f["record"], _RECORD)
    with f.loop(0, record.load("plan_count", "i64"), may_be_empty=True) as each:
        plan = f.load(f.offset(record.at("plans"), "i64", each.index), "ptr")
        with f.when(f.call(_fits(module), "i1", f["record"], plan)):
            f.ret(plan)
            f.begin(f.fresh("dead"))
    f.ret(_NULL)
    return module.add(f)


def _fits(module: Module) -> str:
    """`i1 (record, plan)`: whether every input is an array that needs no conversion, of the plan's shape.

    Puts their addresses into the table on the way.
    """
    f = Function(module, "call.fits", [("ptr", "record"), ("ptr", "plan")], "i1", plain=True)
    record, plan = _Words(f, f["record"], _RECORD), _Words(f, f["plan"], _PLAN)
    python = _Words(f, record.load("python"), _PYTHON)
    low, high = record.load("low", "i64"), record.load("high", "i64")
    sizes = [plan.load("sizes")]
    with f.loop(0, record.load("input_count", "i64"), carried=sizes, may_be_empty=True) as each:
        one = _Words(f, record.load("inputs"), _INPUT, each.index)
        array, rank = one.load("array"), one.load("rank", "i64")

        def field(offset: int, type: str, array: Value = array) -> Value:
            return f.load(f.offset(array, "i8", offset), type)

        _refuse_if(f, f.icmp("ne", field(_TYPE, "ptr"), python.load("array_type")))  # else its fields may not be read
        flags = f.and_(field(_FLAGS, "i32"), _CONTIGUOUS_AND_ALIGNED)
        _refuse_if(f, f.icmp("ne", field(_DTYPE, "ptr"), one.load("dtype")))
        _refuse_if(f, f.icmp("ne", f.sext(field(_RANK, "i32"), "i64"), rank))
        _refuse_if(f, f.icmp("ne", flags, _CONTIGUOUS_AND_ALIGNED))
        shape = field(_SIZES, "ptr")
        with f.loop(0, rank, may_be_empty=True) as axis:
            here, there = (f.load(f.offset(p, "i64", axis.index), "i64") for p in (shape, each.values[0]))
            _refuse_if(f, f.icmp("ne", here, there))
        address = field(_MEMORY, "i64")
        _refuse_if(f, f.and_(f.icmp("uge", address, low), f.icmp("ult", address, high)))
        f.store(address, one.load("place"))
        each.next = [f.offset(each.values[0], "i64", rank)]
    f.ret(const("i1", 1))
    return module.add(f)


def _refuse_if(f: Function, condition: Value) -> None:
    with f.when(condition, cold=True):
        f.ret(const("i1", 0))
        f.begin(f.fresh("dead"))


def _results(module: Module) -> str:
    """`ptr (record)`: a dictionary of the figures and of the outputs to show; null if there is no memory for it."""
    f = Function(module, "call.results", [("ptr", "record")], "ptr", plain=True)
    record = _Words(f, f["record"], _RECORD)
    python = _Words(f, record.load("python"), _PYTHON)
    results = python.call("dict_new", "ptr")
    _give_up(f, python, f.icmp("eq", results, _NULL))

    def fail_if(condition: Value) -> None:
        with f.when(condition, cold=True):
            python.call("clear_error", "void")
            python.call("dec_ref", "void", results)
            f.ret(_NULL)
            f.begin(f.fresh("dead"))

    with f.loop(0, record.load("figure_count", "i64"), may_be_empty=True) as each:
        figure = _Words(f, record.load("figures"), _FIGURE, each.index)
        value = f.call(
            _number(module), "ptr", record.load("python"), figure.load("address"), figure.load("kind", "i64")
        )
        fail_if(f.icmp("eq", value, _NULL))
        code = python.call("set_item", "i32", results, figure.load("name"), value)
        python.call("dec_ref", "void", value)
        fail_if(f.icmp("slt", code, 0))
    with f.loop(0, record.load("shown", "i64"), may_be_empty=True) as each:
        out = _Words(f, record.load("outputs"), _OUTPUT, each.index)
        fail_if(f.icmp("slt", python.call("set_item", "i32", results, out.load("name"), out.load("array")), 0))
    f.ret(results)
    return module.add(f)


def _number(module: Module) -> str:
    """`ptr (python, address, kind)`: a new Python number or truth value."""
    f = Function(module, "call.number", [("ptr", "python"), ("ptr", "address"), ("i64", "kind")], "ptr", plain=True)
    python = _Words(f, f["python"], _PYTHON)

    def of_float(type: str) -> None:
        f.ret(python.call("from_double", "ptr", f.fpext(f.load(f["address"], type), "double")))
        f.begin(f.fresh("dead"))

    def of_integer(type: str, signed: bool = True) -> None:
        value = f.load(f["address"], type)
        f.ret(python.call("from_i64", "ptr", f.sext(value, "i64") if signed else f.zext(value, "i64")))
        f.begin(f.fresh("dead"))

    f.switch(
        f["kind"],
        {
            0: lambda: of_float("float"),
            1: lambda: of_float("double"),
            2: lambda: of_integer("i64"),
            3: lambda: of_integer("i32"),
            4: lambda: of_integer("i8"),
            5: lambda: of_integer("i8", signed=False),
        },
    )
    f.ret(python.call("from_bool", "ptr", f.zext(f.load(f["address"], "i8"), "i64")))
    return module.add(f)


def _drop(module: Module) -> str:
    """`void (record)`: gives back the references to the arrays of the call."""
    f = Function(module, "call.drop", [("ptr", "record")], plain=True)
    record = _Words(f, f["record"], _RECORD)
    python = _Words(f, record.load("python"), _PYTHON)
    for kind, names in (("input", _INPUT), ("output", _OUTPUT)):
        with f.loop(0, record.load(f"{kind}_count", "i64"), may_be_empty=True) as each:
            slot = _Words(f, record.load(f"{kind}s"), names, each.index).at("array")
            array = f.load(slot, "ptr")
            f.store(_NULL, slot)
            _forget(f, python, array)
    f.ret()
    return module.add(f)
