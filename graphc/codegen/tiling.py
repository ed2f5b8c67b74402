"""How a contraction is cut into register tiles: pure decisions, no code is written here.

The tile heights and widths are measured ones (tests/bench/contraction.py measures them again).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import Enum
from math import inf, prod

from graphc.codegen.bfloat import FEATURE
from graphc.codegen.contraction_spec import Contraction, Extent, KAxis, Late
from graphc.codegen.ssa import size
from graphc.codegen.target import LARGE_BYTES, LINE, Target

PACK_ROW_TILES = 4  # B in place is read once by each row tile: beyond so many the copy into a panel pays
ALIASED_ROW_TILES = (
    2  # the same where so few sets of the caches hold a panel of B that no row tile finds it there again
)
ALIASED_STRIDE, ALIASED_DEPTH = (
    4096,
    512,
)  # neighbouring k multiples of so many bytes apart, and at least so many of them
LATE_PACK_ROW_TILES = 8  # the same where m is a parameter: the copy is a pass of its own then
PACK_STRIDE = 1024  # .. if neighbouring k of B lie at least so many bytes apart (each on a page or line of its own)
SHARING = range(2, 6)  # taps that share elements of A: their vectors of B are in registers, of which 16 are too few
FEW_TILES = 64  # row tiles over which the cost of packing shows
PACK_DEPTH = 32  # .. and the panel is deep enough
PART_DEPTH = 8  # k beside which there is room for a vector's epilogue
FAR = 1024  # neighbouring k of A so many bytes apart fill the ways of the caches sooner
DEPTH, FAR_DEPTH = 512, 256  # k in a block, if there are more than two blocks of it
LONG_DEPTH = 1024  # the same where rows meet panels in blocks: storing the sums between costs more than it gains
SHORT_DEPTH, SHORT_GROUP = 128, 4  # k in a block that so many panels share, where all rows meet a panel
BLOCK_BYTES = 1 << 18  # of A, the rows that stay in the second-level cache while a group of panels passes
FEW_ROWS = 32  # so few are done in one pass over all of B
GROUP = 10  # panels of B walked together then
FEW_TILES_TO_SHARE = 12  # row tiles of which one more or less shows in what a thread has to do
EARLY_DEPTH = 128  # so short sums are over before memory has answered
RUN_BYTES = 160 << 10  # of panels that a row tile walks along, if it reads or writes other memory for each
LOWER = 8  # a tile of so many rows gives up one, if that leaves registers for an epilogue amid its sums
KEPT_TILES = 128  # row tiles whose partial sums are kept at a time, if k is cut


class Source(Enum):
    """Where a micro kernel reads B: as it lies, from a packed panel, from either (strides are arguments).

    PACKING reads B as it lies and packs it on the way, for the kernels that follow.
    """

    IN_PLACE, PACKED, EITHER, PACKING = range(4)


@dataclass(frozen=True)
class Panel:
    """A kind of column panel. `valid` lanes of its last vector are columns: all (None), a number, or -1: run-time."""

    vectors: int
    valid: int | None
    source: Source


@dataclass(frozen=True)
class Plan:
    """How one contraction is computed on one target: tiles of at most `height` rows by `vectors` vectors of `lanes`."""

    contraction: Contraction
    lanes: int
    height: int
    vectors: int
    source: Source
    packs_itself: bool  # the first row tile packs B while it computes: hides the copy for a kernel more
    k_block: int | None  # indices of the outermost k in a block, if sums are cut into blocks
    row_block: int | None  # row tiles that meet a group of panels before the next ones do; None: all
    group: int  # full panels in a group
    taps: KAxis | None = None  # one more axis of k, along which rows of A overlap: each step is for all of it
    waits: bool = False  # a finished tile waits until its epilogue can run amid the sums of the next one
    ahead: int = 0  # k of B that are asked for amid the sums of each row of a tile, for the next panel to be packed

    @property
    def unroll(self) -> int:
        """Steps of the innermost k in a turn of its loop: 2 is faster in short sums, 1 is less code to compile."""
        return 2 if isinstance(self.contraction.m, int) or isinstance(self.contraction.k[-1].extent, int) else 1

    @property
    def rows_ahead(self) -> int:
        """How far below its tile a row lies for which memory is asked: amid short sums its own would come too late.

        Memory beyond the last row may be asked for: nothing is read. A result that stays in the cache asks for its own,
        and so does a tile that waits for its epilogue until the next one is summed.
        """
        if self.waits:
            return 0
        m, n, (factor, names) = self.contraction.m, self.contraction.n, self.depth
        large = isinstance(m, int) and isinstance(n, int) and m * n * size(self.contraction.scalar) >= LARGE_BYTES
        return self.height if large and not names and factor <= EARLY_DEPTH else 0

    @property
    def is_fine(self) -> bool:
        """Whether there is a part of the sums for each vector of a tile that waits, not one for each row."""
        factor, names = self.depth
        return self.waits and not names and factor >= PART_DEPTH * self.height * self.vectors

    @property
    def a_ahead(self) -> int:
        """How many elements further each k asks for A; 0 where neighbouring k lie close together, or A in the cache.

        Where neighbours are rows instead, every k has a line of its own, of which a row tile uses a part; the lines
        are too far from each other for the processor to guess the next ones, which the row tiles below will use.
        """
        m, far, line = self.contraction.m, self.contraction.k[-1].a_stride, LINE // size(self.contraction.scalar)
        bounds = [axis.bound for axis in self.contraction.k]
        if isinstance(m, str) or isinstance(far, str) or self.contraction.a_row_stride != 1:
            return 0
        known = m * prod(bound for bound in bounds if isinstance(bound, int)) * size(self.contraction.scalar)
        return line if far * size(self.contraction.scalar) >= FAR and known >= LARGE_BYTES and m > line else 0

    @property
    def late_pack_tiles(self) -> int:
        """More row tiles than these read B from packed panels, where their number is seen late."""
        return LATE_PACK_ROW_TILES

    @property
    def width(self) -> int:
        return self.vectors * self.lanes

    @property
    def depth(self) -> tuple[int, tuple[str, ...]]:
        """The number of all k of a block, as a factor and names."""
        outer, *others = [axis.bound for axis in self.contraction.k]
        extents = [self.k_block or outer, *others, *([self.taps.extent] if self.taps else [])]
        return prod(e for e in extents if isinstance(e, int)), tuple(e for e in extents if isinstance(e, str))

    @property
    def partial_elements(self) -> int:
        """Room for the sums of the row tiles by a group of panels, between blocks of k."""
        return (self.kept_tiles or 0) * self.group * self.height * self.width

    @property
    def kept_tiles(self) -> int | None:
        """Row tiles whose sums are kept at a time between blocks of k; None if sums are not cut."""
        m = self.contraction.m
        tiles = -(-m // self.height) if isinstance(m, int) else KEPT_TILES
        return min(KEPT_TILES, tiles) if self.k_block else None

    def panels(self) -> list[tuple[int, int, Panel]]:
        """The panels of a static n: (first column, how many, kind). Thin last panels are avoided: 4 = 2 + 2."""
        n = self.contraction.n
        assert isinstance(n, int)
        total = -(-n // self.lanes)
        wide, rest = divmod(total, self.vectors)
        widths = [(wide, self.vectors), (1, rest)]
        if rest == 1 and self.vectors == 3 and wide and self.contraction.vectors is None:
            widths = [(wide - 1, 3), (2, 2)]
        result, column = [], 0
        for count, vectors in widths:
            columns = vectors * self.lanes
            full = min(count, max(0, n - column) // columns) if vectors else 0
            if full:
                result.append((column, full, Panel(vectors, None, self.source)))
            if vectors and full < count:
                valid = n - column - full * columns - (vectors - 1) * self.lanes
                result.append((column + full * columns, 1, Panel(vectors, valid, self.source)))
            column += count * columns
        return result

    def edges(self) -> list[Panel]:
        """The kinds of the last panel of a run-time n, one for each number of vectors."""
        return [Panel(vectors, -1, self.source) for vectors in range(1, self.vectors + 1)]


def plan(contraction: Contraction, target: Target) -> Plan:
    """The way `contraction` is computed on `target`."""
    merged = replace(contraction, k=merge_axes(contraction.k))
    lanes = target.lanes(size(contraction.scalar))
    room = replace(target, registers=target.registers - 2) if _emulates_pairs(merged, target) else target
    height, vectors = tile_shape(room, lanes, merged.m, merged.n)
    if merged.vectors:
        vectors = merged.vectors
        height = max(1, (room.registers - (1 if target.fma else 2)) // vectors - 1)
    most = _height_beside(merged.late, room, height, vectors)
    height = most or height
    if merged.split:
        height = merged.row_tile or _height_to_share(merged, height, vectors * lanes)
    waits = most is not None and height <= most
    source = _source(merged, target, lanes, height)
    packs = (
        source is Source.PACKED
        and merged.b_column_stride == 1
        and isinstance(merged.m, int)
        and (height < merged.m <= FEW_TILES * height)
        and _reads_edges(target, merged.n, lanes)
    )
    whole = Plan(merged, lanes, height, vectors, source, packs, _k_block(merged, DEPTH), None, 1, waits=waits)
    row_block = _row_block(whole)
    if row_block is None:
        whole = _in_short_blocks(whole)
    elif isinstance(merged.k[0].extent, int):
        whole = replace(whole, k_block=_k_block(merged, LONG_DEPTH))
        row_block = _row_block(whole)
    whole = replace(whole, ahead=_ahead(whole, row_block))
    if row_block is None:
        return _with_taps(whole, contraction.k, target)
    group = GROUP if isinstance(merged.n, str) else max(1, min(_group(whole), merged.n // whole.width))
    return replace(whole, row_block=row_block, group=group)


def _with_taps(whole: Plan, axes: tuple[KAxis, ...], target: Target) -> Plan:
    """The same with taps that share elements of A, where these are what is loaded most: for B of one vector.

    If a step along one of the `axes` of k is a step to the next row, as along the taps of a convolution, tap t meets in
    row i what tap 0 meets in row i + t. One load serves all taps then, and multiply-adds do not wait for loads. Whether
    it is done does not depend on m, for it is another order of the sum.
    """
    found, row = whole.contraction, whole.contraction.a_row_stride
    late = replace(found, m="m", k=axes)
    near = whole.vectors == 1 and _source(late, target, whole.lanes, whole.height) is Source.IN_PLACE
    if (
        target.registers < 32
        or not near
        or found.is_cut
        or found.pairs
        or whole.k_block is not None
        or _depth(axes) > 2 * DEPTH
    ):
        return whole
    shared = [axis for axis in axes[:-1] if axis.a_stride == row and axis.is_known and axis.extent in SHARING]
    if len(shared) != 1:
        return whole
    taps, rest = shared[0], [axis for axis in axes if axis is not shared[0]]
    k = merge_axes((rest[-1], *rest[:-1]))  # the innermost outside: of these there are many, between which to ask
    return replace(whole, contraction=replace(found, k=k), taps=taps)


def _depth(axes: tuple[KAxis, ...]) -> float:
    """How many k there are; infinitely many if that is not known."""
    return prod(axis.extent if isinstance(axis.extent, int) else inf for axis in axes)


def _height_beside(late: Late | None, target: Target, height: int, vectors: int) -> int | None:
    """The height of tiles that leave registers for an epilogue amid their sums; None if that would be too low."""
    if late is None:
        return None
    most = min(height, (target.registers - late.registers) // vectors)
    return most if most * LOWER >= height * (LOWER - 1) else None


def _emulates_pairs(contraction: Contraction, target: Target) -> bool:
    """Whether pairs are summed without an instruction for them: a mask and halves of elements need registers then."""
    return contraction.pairs and not target.has(FEATURE)


def _height_to_share(contraction: Contraction, height: int, width: int) -> int:
    """Lower tiles where there is an odd number, few of them: three for two threads would be as slow as four."""
    m, n = contraction.m, contraction.n
    if not isinstance(m, int) or not isinstance(n, int) or -(-n // width) % 2 == 0:
        return height
    tiles = -(-m // height)
    return -(-m // (tiles + 1)) if tiles % 2 == 1 and 1 < tiles < FEW_TILES_TO_SHARE else height


def _ahead(whole: Plan, row_block: int | None) -> int:
    """The k of a panel, shared out between the rows of the tiles that meet the panel before.

    A deep panel would not stay in the cache until it is packed.
    """
    m, n, (axis, *others) = whole.contraction.m, whole.contraction.n, whole.contraction.k
    if not whole.packs_itself or others or isinstance(axis.b_stride, str) or isinstance(axis.extent, str):
        return 0
    assert isinstance(m, int), "asked before a kernel packs itself"
    tiles = -(-m // whole.height)
    tiles = tiles if row_block is None else min(tiles, row_block)
    depth = whole.k_block or axis.extent
    small = isinstance(n, str) or n * axis.extent * size(whole.contraction.scalar) < LARGE_BYTES
    return 0 if small or tiles < 2 or depth > 2 * DEPTH else -(-depth // ((tiles - 1) * whole.height))


def _group(whole: Plan) -> int:
    """Panels walked together; as many as stay in the cache where each row tile walks along all of them."""
    factor, names = whole.depth
    if not whole.contraction.reads or whole.k_block is not None or names:
        return GROUP
    return max(1, RUN_BYTES // (factor * whole.width * size(whole.contraction.scalar)))


def _k_block(contraction: Contraction, near: int) -> int | None:
    """Even blocks of the outermost k, if the sums are long; also if their length is a parameter.

    `near` is how many k a block has at most where neighbouring k of A lie close together.
    """
    if isinstance(contraction.m, int) and contraction.m <= FEW_ROWS:
        return None
    far = contraction.k[-1].a_stride
    limit = FAR_DEPTH if isinstance(far, str) or far * size(contraction.scalar) >= FAR else near
    outer, inner = contraction.k[0].bound, _inner_depth(contraction)
    if isinstance(outer, str):
        return max(1, limit // inner)
    blocks = -(-outer * inner // limit)
    return _even_blocks(outer, blocks) if blocks > 2 and outer > 1 else None


def _in_short_blocks(whole: Plan) -> Plan:
    """The same with shorter blocks of k, if sums are cut and all rows meet a panel: a few panels share a block then.

    Their packed parts, A's rows and the sums of all tiles stay in the second-level cache, and A is read less often.
    Not where packing transposes B, of which it reads long columns.
    """
    n = whole.contraction.n
    if whole.k_block is None or isinstance(n, str) or n < 2 * whole.width or whole.contraction.b_column_stride != 1:
        return whole
    outer, inner = whole.contraction.k[0].bound, _inner_depth(whole.contraction)
    if isinstance(outer, int):
        step = _even_blocks(outer, -(-outer * inner // SHORT_DEPTH))
    else:
        step = max(1, SHORT_DEPTH // inner)
    return replace(whole, k_block=step, group=min(SHORT_GROUP, n // whole.width))


def _inner_depth(contraction: Contraction) -> int:
    """The number of k of all axes but the outermost, as far as it is known."""
    return prod(axis.extent for axis in contraction.k[1:] if isinstance(axis.extent, int))


def _even_blocks(extent: int, blocks: int) -> int:
    return -(-extent // min(blocks, extent))


def _row_block(whole: Plan) -> int | None:
    """Row tiles whose part of A stays in the cache; None if all of A does, or if it is read only once.

    One where the epilogue reads other tensors of the result's size: long runs of their rows then follow each other,
    which memory delivers sooner than a few columns of many rows.
    """
    n, m = whole.contraction.n, whole.contraction.m
    if isinstance(n, int) and n <= 2 * whole.width:
        return None
    factor, names = whole.depth
    deep = DEPTH if names else factor
    rows = BLOCK_BYTES // (deep * size(whole.contraction.scalar))
    if isinstance(m, int) and m <= 2 * rows:
        return None
    if whole.contraction.reads and whole.k_block is None:
        return 1
    return max(1, rows // whole.height)


def merge_axes(axes: tuple[KAxis, ...]) -> tuple[KAxis, ...]:
    """The same sum in the same order over fewer axes: neighbours that step through A and B alike become one."""
    kept: list[KAxis] = []
    for axis in axes:
        if axis.extent != 1:
            both = _merged(kept[-1], axis) if kept else None
            kept[-1:] = [both] if both else [*kept[-1:], axis]
    return tuple(kept) or axes[-1:]


def _merged(outer: KAxis, inner: KAxis) -> KAxis | None:
    match outer, inner:
        case KAxis(int(many), int(far_a), int(far_b)), KAxis(int(few), int(a), int(b)) if (far_a, far_b) == (
            few * a,
            few * b,
        ):
            return KAxis(many * few, a, b)
    return None


def tile_shape(target: Target, lanes: int, m: Extent, n: Extent) -> tuple[int, int]:
    """Rows and vectors of the register tile: rows * vectors accumulators, the vectors of B and a broadcast fit.

    Few rows take wide tiles, which read long pieces of B. A run-time m has kernels of every height, and a run-time n of
    every width: smaller tiles then save most of the compile time for 1-3 % of the speed.
    """
    total = -(-n // lanes) if isinstance(n, int) else 4
    if isinstance(m, int) and m <= 6:
        return m, min(total, (target.registers - (1 if target.fma else 2)) // (m + 1))
    if target.registers < 32:
        if total == 1:
            return (12 if target.fma else 8), 1
        most, others = (6, 3) if target.fma else (4, 7)  # without fma the product needs a register too
        return min(most, (target.registers - others) // 2), 2
    if isinstance(m, int):
        vectors = 3 if total >= 9 or total == 3 else min(2, total)
        return {1: 16, 2: 14, 3: 8}[vectors], vectors
    if not isinstance(n, int):
        return 6, 3
    vectors = 4 if total % 4 == 0 else min(3, total)
    return {1: 12, 2: 8, 3: 8, 4: 6}[vectors], vectors


def _reads_edges(target: Target, n: Extent, lanes: int) -> bool:
    """Whether rows of B can be read in place to their end."""
    return target.masked or (isinstance(n, int) and n % lanes == 0)


def _source(contraction: Contraction, target: Target, lanes: int, height: int) -> Source:
    """B is packed if its columns are no vectors, or if the copy pays; with a run-time m that is seen when it runs."""
    if contraction.panel_stride is not None:
        return Source.IN_PLACE
    if contraction.b_column_stride != 1 or not _reads_edges(target, contraction.n, lanes):
        return Source.PACKED
    inner = contraction.k[-1].b_stride
    deep = prod(axis.bound if isinstance(axis.bound, int) else PACK_DEPTH + 1 for axis in contraction.k)
    if deep <= PACK_DEPTH or (isinstance(inner, int) and inner * size(contraction.scalar) < PACK_STRIDE):
        return Source.IN_PLACE
    if not isinstance(contraction.m, int):
        return Source.EITHER
    tiles = PACK_ROW_TILES
    if isinstance(inner, int) and inner * size(contraction.scalar) % ALIASED_STRIDE == 0 and deep >= ALIASED_DEPTH:
        tiles = ALIASED_ROW_TILES
    return Source.PACKED if contraction.m > tiles * height else Source.IN_PLACE
