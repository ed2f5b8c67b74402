"""What a contraction does to a finished register tile: the stores of its group, in the tile's code or beside it.

A short epilogue stands in the code once for every vector of the tile, its operands in registers.  A long one would
fill the instruction cache and the registers many times over: the tile goes through memory instead, to a function of
its own that loops over its vectors.  All tiles of a contraction, of whatever height, share that function.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from graphc.codegen import fetch_code
from graphc.codegen.amid_sums import length_of, registers_amid_sums
from graphc.codegen.contraction_spec import Columns, Tile
from graphc.codegen.kernel import (
    Ask,
    Buffer,
    Contract,
    Load,
    closure,
    scalars_of,
)
from graphc.codegen.llvm import Function, Index, Module, Value, const, element, lanes, vector
from graphc.codegen.primitives import llvm_type
from graphc.codegen.scalar_code import ScalarCode
from graphc.codegen.two_passes import in_two
from graphc.codegen.views import sizes, variables, with_views
from graphc.ir.dims import product

SHORT = 32  # sums that are over before memory answers
LONG_SUM = 256  # whose multiply-adds take longer than memory takes to accept a tile
MOST_ASKS = 2  # for each vector: more requests would take longer than the stores wait
LONG = 18  # instructions of an epilogue that is worth the way through memory


class TileEpilogue:
    """Writes the epilogue of one contraction; `outer` are variables of the kernel's loops around it.

    The views, run-time sizes and outer variables that it needs are parameters of the functions that it is written into.
    """

    def __init__(self, contract: Contract, module: Module) -> None:
        self.stmt, self.views = with_views(contract)
        self.module, stmt = module, self.stmt
        self.buffers = {b: f"b{i}" for i, b in enumerate(self.views)}
        self.sizes = {s: f"n{i}" for i, s in enumerate(sizes(stmt))}
        self.outer = {v: f"v{i}" for i, v in enumerate(variables(stmt))}
        self.params: list[tuple[str, str]] = [("ptr", x) for x in self.buffers.values()]
        self.params += [("i64", x) for x in (*self.sizes.values(), *self.outer.values())]
        self.params += [("ptr", fetch_code.PARAM)] if stmt.fetches else []
        self.is_long = length_of(stmt) > LONG
        self.asks = asked_for(stmt)
        self.registers = registers_amid_sums(stmt) or 0
        self._function: str | None = None

    def arguments(self, code: ScalarCode) -> list[Value]:
        """The values of `params` where the contraction is called."""
        pointers = [code.address(view.buffer, view.at) for view in self.views.values()]
        table = [fetch_code.table(self.stmt, code)] if self.stmt.fetches else []
        return [*pointers, *(code.sizes[n] for n in self.sizes), *(code.places[v][0] for v in self.outer), *table]

    def __call__(self, f: Function, given: Mapping[str, Value], tile: Tile) -> None:
        if self.stmt.others:
            self._parts(f, given, tile)
        elif self.is_long:
            self._through_memory(f, given, tile)
        else:
            self._in_registers(f, given, tile)

    def announce(self, f: Function, given: Mapping[str, Value], row: Value, columns: Sequence[Value]) -> None:
        """Asks for the elements of other tensors that will be read or written in a row of its tile."""
        vector = self.module.target.vector_bytes // self.stmt.temp.dtype.size
        code = self._code(f, given, vector)
        with code.scope(self.stmt.row, row, False):
            for column in columns:
                with code.scope(self.stmt.column, column, True):
                    for ask in self.asks:
                        f.prefetch(code.address(ask.buffer, ask.at), ask.is_written)

    def fetch(self, f: Function, given: Mapping[str, Value], row: Value, columns: Sequence[Value]) -> None:
        """Asks for what belongs to a row of the fetches, as far as these columns are to."""
        vector = self.module.target.vector_bytes // self.stmt.temp.dtype.size
        fetch_code.ask(f, self.stmt, given[fetch_code.PARAM], vector, row, columns)

    def vector(
        self, f: Function, given: Mapping[str, Value], sums: Value, row: Value, column: Value, mask: Value | None
    ) -> None:
        """The stores of one vector of a row, whose sums lie in memory; nothing is mixed with it, registers are few."""
        width = self.module.target.lanes(self.stmt.temp.dtype.size)
        code = self._code(f, given, width)
        code.mask = mask
        f.fence()
        with code.scope(self.stmt.row, row, False), code.scope(self.stmt.column, column, True):
            code.define(self.stmt.temp, f.load(sums, vector(llvm_type(self.stmt.temp.dtype), width)))
            code.store_all(self.stmt.epilogue)
        f.fence()

    def tile(self, f: Function, given: Mapping[str, Value], sums: Value, place: Sequence[Value], of: Columns) -> None:
        """The stores of a whole tile in memory, by the function for it; `place` is first row and column, and height."""
        row, column, rows = place
        width = self.module.target.lanes(self.stmt.temp.dtype.size)
        valid = const("i64", len(of) * width) if of[-1][1] is None else _value(f.sub(self._columns(f, given), column))
        if self._function is None:
            self._function = self._write(vector(llvm_type(self.stmt.temp.dtype), width))
        counts = rows, const("i64", len(of)), valid
        f.call(self._function, "void", sums, row, column, *counts, *(given[x] for _, x in self.params))

    def _code(self, f: Function, given: Mapping[str, Value], width: int) -> ScalarCode:
        pointers: dict[Buffer, Value] = {b: given[x] for b, x in self.buffers.items()}
        code = ScalarCode(f, pointers, {s: given[x] for s, x in self.sizes.items()}, width)
        code.places.update({v: (given[x], 0, False) for v, x in self.outer.items()})
        return code

    def _in_registers(self, f: Function, given: Mapping[str, Value], tile: Tile) -> None:
        """The stores for every vector of the tile; what a column shares is computed once."""
        stmt, code = self.stmt, self._code(f, given, lanes(tile.accumulators[0][0].type))
        scalars, at = [*scalars_of(stmt.epilogue)], [s.at for s in stmt.epilogue]
        code.hoist(scalars, at)
        for j, (column, mask) in enumerate(tile.columns):
            code.mask = mask
            with code.scope(stmt.column, column, True):
                code.hoist(scalars, at)
                for i, row in enumerate(tile.rows):
                    with code.scope(stmt.row, row, False):
                        code.define(stmt.temp, tile.accumulators[i][j])
                        code.store_all(stmt.epilogue)
        code.mask = None

    def _through_memory(self, f: Function, given: Mapping[str, Value], tile: Tile) -> None:
        vectors, type = len(tile.columns), tile.accumulators[0][0].type
        flat = [value for row in tile.accumulators for value in row]
        at = f.assign("ptr", f"alloca [{len(flat)} x {type}], align 64")
        for i, value in enumerate(flat):
            f.store(value, f.offset(at, element(type), i * lanes(type)))
        masked = tile.columns[-1][1] is not None
        first = tile.columns[0][0]
        last = f.sub(self._columns(f, given), first) if masked else const("i64", vectors * lanes(type))
        counts = [const("i64", len(tile.rows)), const("i64", vectors)]
        if self._function is None:
            self._function = self._write(type)
        f.call(
            self._function, "void", at, tile.rows[0], first, *counts, _value(last), *(given[x] for _, x in self.params)
        )

    def _parts(self, f: Function, given: Mapping[str, Value], tile: Tile) -> None:
        """A tile with a vector of every part: through memory, to a function that has all parts of a row at once."""
        type = tile.accumulators[0][0].type
        flat = [value for row in tile.accumulators for value in row]
        at = f.assign("ptr", f"alloca [{len(flat)} x {type}], align 64")
        for i, value in enumerate(flat):
            f.store(value, f.offset(at, element(type), i * lanes(type)))
        if self._function is None:
            self._function = self._write_parts(type)
        unit = f.sdiv(tile.columns[0][0], len(tile.columns))
        rows = const("i64", len(tile.rows))
        f.call(self._function, "void", at, tile.rows[0], _value(unit), rows, *(given[x] for _, x in self.params))

    def _write_parts(self, type: str) -> str:
        """The function (ptr tile, i64 row, i64 column, i64 rows, params ..) for a vector of columns in all rows."""
        head = [("ptr", ".tile"), *(("i64", x) for x in (".row", ".column", ".rows"))]
        f = Function(self.module, "epilogue", [*head, *self.params], noinline=True)
        code = self._code(f, f.params, lanes(type))
        stmt, width, extent = self.stmt, code.width, code.dim(self.stmt.column.extent)
        temps = (stmt.temp, *stmt.others)
        scalars, at = [*scalars_of(stmt.epilogue)], [s.at for s in stmt.epilogue]
        code.hoist(scalars, at)
        with code.scope(stmt.column, f[".column"], True):
            code.hoist(scalars, at)
            if not (isinstance(extent, int) and extent % width == 0):
                code.mask = f.tail_mask(f.sub(extent, f[".column"]), width)
            passes = in_two(stmt.epilogue, stmt.column, temps, most=len(temps))
            if passes is not None and passes.late[0].value.dtype != stmt.temp.dtype:
                passes = None
            early, kept, late = (stmt.epilogue, (), ()) if passes is None else (passes.early, passes.kept, passes.late)

            def places(row: Value) -> list[Value]:
                first = f.mul(row, len(temps) * width)
                return [f.offset(f[".tile"], element(type), f.add(first, i * width)) for i in range(len(temps))]

            with f.loop(0, f[".rows"]) as loop, code.scope(stmt.row, _value(f.add(f[".row"], loop.index)), False):
                for temp, place in zip(temps, places(loop.index), strict=True):
                    code.define(temp, f.load(place, type))
                values = [code.wide(s) for s in kept]
                code.store_all(early)
                for value, place in zip(values, places(loop.index), strict=False):
                    f.store(value, place)  # the sums have been read
            if late:
                with f.loop(0, f[".rows"]) as loop, code.scope(stmt.row, _value(f.add(f[".row"], loop.index)), False):
                    for s, place in zip(kept, places(loop.index), strict=False):
                        code.remember(s, f.load(place, type))
                    code.store_all(late)
            code.mask = None
        f.ret()
        return self.module.add(f)

    def _columns(self, f: Function, given: Mapping[str, Value]) -> Index:
        """How many columns the contraction has."""
        return self._code(f, given, 1).dim(self.stmt.column.extent)

    def _write(self, type: str) -> str:
        """The function (ptr tile, i64 row, i64 column, i64 rows, i64 vectors, i64 valid columns, params ..)."""
        head = [("ptr", ".tile"), *(("i64", x) for x in (".row", ".column", ".rows", ".vectors", ".valid"))]
        f = Function(self.module, "epilogue", [*head, *self.params], noinline=True)
        code = self._code(f, f.params, lanes(type))
        width = code.width
        stmt = self.stmt
        scalars, at = [*scalars_of(stmt.epilogue)], [s.at for s in stmt.epilogue]
        code.hoist(scalars, at)

        def column(j: Value) -> None:
            """One vector of columns in all rows of the tile."""
            place = f.mul(j, width)
            step = f.mul(f[".vectors"], width)
            with code.scope(stmt.column, _value(f.add(f[".column"], place)), True):
                code.hoist(scalars, at)
                with f.loop(0, f[".rows"]) as loop:
                    row = _value(f.add(f[".row"], loop.index))
                    with code.scope(stmt.row, row, False):
                        offset = f.add(f.mul(loop.index, step), place)
                        code.define(stmt.temp, f.load(f.offset(f[".tile"], element(type), offset), type))
                        code.store_all(stmt.epilogue)

        full = f.sdiv(f[".valid"], width)
        extent = stmt.column.extent
        with f.loop(0, self._least(f, full), may_be_empty=True) as loop:
            column(loop.index)
        if not (isinstance(extent, int) and extent % width == 0):
            rest = f.sub(f[".valid"], f.mul(full, width))
            with f.when(f.and_(f.icmp("slt", _value(full), f[".vectors"]), f.icmp("sgt", _value(rest), 0))):
                code.mask = f.tail_mask(rest, width)
                column(_value(full))
                code.mask = None
        f.ret()
        return self.module.add(f)

    @staticmethod
    def _least(f: Function, full: Index) -> Value:
        limit = f[".vectors"]
        return f.select(f.icmp("slt", _value(full), limit), _value(full), limit)


def asked_for(stmt: Contract) -> tuple[Ask, ...]:
    """What an epilogue loads, where it stores much, and what later statements need: places of each row's columns.

    Only what is other memory for every row, and none if the sums are over too soon to fetch anything meanwhile.
    """
    depth = product(axis.extent for axis in stmt.k)
    if stmt.others or (isinstance(depth, int) and depth < SHORT):
        return ()
    found: dict[tuple[object, ...], Ask] = {}
    for s in closure(tuple(scalars_of(stmt.epilogue))):
        if isinstance(s, Load) and s.guard is None and s.at.is_of_rows(stmt.row, stmt.column):
            found.setdefault((s.buffer, s.at.constant, s.at.terms), Ask(s.buffer, s.at))
    stores = _large_stores(stmt)
    return (*found.values(), *(stores if len(found) + len(stores) <= MOST_ASKS else ()), *stmt.asks)


def _large_stores(stmt: Contract) -> list[Ask]:
    """Where an epilogue stores rows of a large tensor, if the stores of one tile are not over when the next comes.

    That is so after sums that are not long. The requests stand between turns of the outermost sum.
    """
    turns, depth = stmt.k[0].extent, product(axis.extent for axis in stmt.k)
    if not isinstance(turns, int) or not isinstance(depth, int) or turns < SHORT or depth > LONG_SUM:
        return []
    asks = [Ask(store.buffer, store.at, True) for store in stmt.epilogue if store.buffer.role != "scratch"]
    return [ask for ask in asks if ask.buffer.is_large and ask.at.is_of_rows(stmt.row, stmt.column)]


def _value(index: Index) -> Value:
    return const("i64", index) if isinstance(index, int) else index
