"""First values of parameters, drawn natively: the same bits as graphc/runtime/rng.py and initialisers.py, much faster.

`void graphc_draw(ptr job)` fills an array with offset + scale * (slope * u + start), u uniform in [0, 1) with 53 bits.
It knows nothing of a model; `graphc.runtime.draws` makes the job. Every field is 8 bytes:

    job   destination, count, seed, stream (i64), whether it is f64 (else f32), slope, start, scale, offset (f64)

Numbers 2i and 2i + 1 are the first and the last two words of block i of the stream; everything is computed in f64 and
rounded once. No two operations are contracted, so that the bits do not depend on the CPU.
"""

from __future__ import annotations

from graphc.codegen.llvm import Function, Module, Value
from graphc.codegen.philox import random_53_bits

SYMBOL = "graphc_draw"
_FIELDS = (
    ("destination", "ptr"), ("count", "i64"), ("seed", "i64"), ("stream", "i64"), ("is_f64", "i64"),
    ("slope", "double"), ("start", "double"), ("scale", "double"), ("offset", "double"),
)  # fmt: skip


def emit_draw(module: Module) -> str:
    """Adds the function to the module; returns its symbol."""
    f = Function(module, SYMBOL, [("ptr", "job")], internal=False)
    job = {name: f.load(f.offset(f["job"], "i64", i), type) for i, (name, type) in enumerate(_FIELDS)}
    done, single, double = f.fresh("done"), f.fresh("single"), f.fresh("double")
    f.branch(f.icmp("ne", job["is_f64"], 0), double, single)
    for label, type in ((single, "float"), (double, "double")):
        f.begin(label)
        _fill(f, job, type)
        f.jump(done)
    f.begin(done)
    f.ret()
    return module.add(f)


def _fill(f: Function, job: dict[str, Value], type: str) -> None:
    """As many blocks at a time as a vector has i64 lanes; the last ones are stored in part."""
    lanes = f.target.vector_bytes // 8
    seed, stream = (f.splat(job[name], lanes) for name in ("seed", "stream"))
    site = f.lshr(stream, 32)
    with f.loop(0, job["count"], step=2 * lanes, may_be_empty=True) as loop:
        index = f.add(f.splat(f.lshr(loop.index, 1), lanes), f.lane_ids(lanes))
        even, odd = (_numbers(f, job, random_53_bits(f, index, seed, stream, site, half), type) for half in (0, 1))
        mixed = f.shuffle(even, odd, [half * lanes + lane for lane in range(lanes) for half in (0, 1)])
        left = f.sub(job["count"], loop.index)
        mask = f.tail_mask(f.select(f.icmp("slt", left, 2 * lanes), left, 2 * lanes), 2 * lanes)
        f.masked_store(mixed, f.offset(job["destination"], type, loop.index), mask)


def _numbers(f: Function, job: dict[str, Value], bits: Value, type: str) -> Value:
    lanes = f.target.vector_bytes // 8
    slope, start, scale, offset = (f.splat(job[name], lanes) for name in ("slope", "start", "scale", "offset"))
    u = f.fmul(f.sitofp(bits, "double"), 2.0**-53)
    inner = f.fadd(f.fmul(slope, u), start)
    value = f.fadd(offset, f.fmul(scale, inner))
    return value if type == "double" else f.fptrunc(value, "float")
