"""sin and cos: the angle is reduced to |r| <= pi/4 in binary64 for both types, as exactly as needed.

Up to 2^20 pi/2 is cut in parts whose multiples are exact (Cody and Waite). Lanes beyond are rare: one at a time,
under a branch, the angle is multiplied by those bits of 2/pi that matter (Payne and Hanek 1983).
"""

from __future__ import annotations

from graphc.codegen.llvm import Function, Value, const, lanes
from graphc.codegen.vecmath_exp import table
from graphc.codegen.vecmath_shared import BINARY32, Lanes, fast_two_sum, pair_product, two_sum
from graphc.codegen.vecmath_tables import HALF_PI, HALF_PI_PARTS, TWO_OVER_PI, TWO_OVER_PI_BITS

_NEAR = 2.0**20
_TABLE_BITS = 1344


def sin(x: Lanes) -> Lanes:
    sign = x.bits() & _sign_bit(x)
    return _sine(x, 0, sign)


def cos(x: Lanes) -> Lanes:
    return _sine(x, 1, x.bits() & 0)


def _sign_bit(x: Lanes) -> int:
    return -1 << (31 if x.format is BINARY32 else 63)


def _sine(x: Lanes, quarter: int, sign: Lanes) -> Lanes:
    """sin(|x| + quarter pi/2) with its sign bit flipped where `sign` is set."""
    quadrant, r, low = _reduce(x.abs())
    quadrant = quadrant + quarter
    z = r * r
    sine = r + (r * z).fma(z.polynomial(table(x).sin), low)
    half = z * 0.5
    near_one = 1 - half
    cosine = near_one + ((1 - near_one - half) + (z * z).fma(z.polynomial(table(x).cos), -(r * low)))
    chosen = (quadrant & 1).eq(1).choose(cosine, sine)
    width = 30 if x.format is BINARY32 else 62
    return (chosen.bits() ^ ((quadrant & 2) << width) ^ sign).as_float()


def _reduce(size: Lanes) -> tuple[Lanes, Lanes, Lanes]:
    """(quadrant, r, low): size = quadrant pi/2 + r + low, the quadrant modulo 4 as an integer of the size of r."""
    wide = size.widen() if size.format is BINARY32 else size
    n, r, low = _reduce_double(wide)
    quadrant = (n + 1.5 * 2.0**52).bits()
    if wide is size:
        return quadrant, r, low
    high = r.narrow()
    return size.of(size.function.trunc(quadrant.value, "i32")), high, ((r - high.widen()) + low).narrow()


def _reduce_double(size: Lanes) -> tuple[Lanes, Lanes, Lanes]:
    f = size.function
    n = (size * TWO_OVER_PI).round()
    first, second, third, rest = HALF_PI_PARTS
    r, low = two_sum(n.fma(-first, size), n * -second)
    r, lower = two_sum(r, n * -third)
    low = n.fma(-rest, low + lower)
    far = size.gt(_NEAR).value
    near = [n.value, r.value, low.value]
    with f.when(f.any(far), near, cold=True) as branch:
        branch.next = _far_lanes(f, size.value, far, near)
    n, r, low = map(size.of, branch.results)
    return n, r, low


def _far_lanes(f: Function, size: Value, far: Value, near: list[Value]) -> list[Value]:
    """The three results `near`, with those of the lanes in `far` computed one by one."""
    name = f.module.add(_far_function(f))
    with f.loop(0, lanes(size.type), carried=near) as loop:
        found = f.call(name, "<4 x double>", f.extract(size, loop.index))
        loop.next = [f.insert(v, f.extract(found, i), loop.index) for i, v in enumerate(loop.values)]
    return [f.select(far, new, old) for new, old in zip(loop.results, near, strict=True)]


def _far_function(caller: Function) -> Function:
    """(quadrant, r, low, -) of one angle of at least 2^20; r is NaN for infinity.

    With x = m 2^e, x 2/pi modulo 4 needs the bits of 2/pi from weight 2^(1-e) down: 192 of them, cut at a byte. Of the
    product with m the upper 128 bits are kept: x lies at least 2^-62 from a multiple of pi/2, so 64 bits are left.
    """
    f = Function(caller.module, "reduce_far_angle", [("double", "x")], "<4 x double>")
    x = f["x"]
    bits = f.bitcast(x, "i64")
    exponent = f.sub(f.lshr(bits, 52), 1075)
    m = f.or_(f.and_(bits, (1 << 52) - 1), 1 << 52)
    shift = f.sub(_TABLE_BITS - 190, exponent)
    start = f.lshr(f.add(shift, 7), 3)
    m = f.shl(m, f.sub(f.shl(start, 3), shift))
    data = f.module.constant(TWO_OVER_PI_BITS.to_bytes(192, "little"))
    words = [f.load(f.offset(data, "i8", f.add(start, 8 * i)), "i64", 1) for i in range(3)]
    wide = f.zext(m, "i128")
    lowest = f.lshr(f.mul(wide, f.zext(words[0], "i128")), 64)
    middle = f.add(f.mul(wide, f.zext(words[1], "i128")), lowest)
    product = f.add(f.shl(f.zext(f.mul(m, words[2]), "i128"), 64), middle)
    quadrant = f.lshr(f.add(product, 1 << 125), 126)
    fraction = f.sub(product, f.shl(quadrant, 126))
    negative = f.icmp("slt", fraction, 0)
    fraction = f.select(negative, f.sub(0, fraction), fraction)
    r, low = _times_half_pi(f, f.trunc(f.lshr(fraction, 64), "i64"), f.trunc(fraction, "i64"))
    r = r + (r.of(x) - r.of(x))  # NaN for infinity
    result = const("<4 x double>", 0)
    values = [
        f.uitofp(f.trunc(quadrant, "i64"), "double"),
        *(f.select(negative, f.fneg(v.value), v.value) for v in (r, low)),
    ]
    for i, value in enumerate(values):
        result = f.insert(result, value, i)
    f.ret(result)
    return f


def _times_half_pi(f: Function, high: Value, low: Value) -> tuple[Lanes, Lanes]:
    """(high 2^-62 + low 2^-126) pi/2 as a pair; the upper bits of `high` are exact in a double, the rest follows."""
    upper = Lanes(f, f.sitofp(f.and_(high, -2048), "double")) * 2.0**-62
    lower = Lanes(f, f.sitofp(f.and_(high, 2047), "double")) * 2.0**-62
    lower = Lanes(f, f.uitofp(low, "double")).fma(2.0**-126, lower)
    return pair_product(fast_two_sum(upper, lower), (upper.number(HALF_PI[0]), upper.number(HALF_PI[1])))
