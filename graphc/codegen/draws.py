"""First values of parameters, drawn natively: the same bits as graphc/runtime/rng.py and initialisers.py, much faster.

`void graphc_draw(ptr job)` fills an array with offset + scale * (slope * u + start), u uniform in [0, 1) with 53 bits.
It knows nothing of a model; `graphc.runtime.draws` makes the job. Every field is 8 bytes:

    job   destination, count, seed, stream (i64), whether it is f64 (else f32), slope, start, scale, offset (f64)

Numbers 2i and 2i + 1 are the first and the last two words of block i of the stream; everything is computed in f64 and
rounded once. No two operations are contracted, so that the bits do not depend on the CPU.
"""

from __future__ import annotations

from graphc.codegen.llvm import Function, Module
from graphc.codegen.philox import both_53_bits

SYMBOL = "graphc_draw"
_FIELDS = (
    ("destination", "ptr"), ("count", "i64"), ("seed", "i64"), ("stream", "i64"), ("is_f64", "i64"),
    ("slope", "double"), ("start", "double"), ("scale", "double"), ("offset", "double"),
)  # fmt: skip


def emit_draw(module: Module) -> str:
    """Adds the function to the module; returns its symbol. A turn of its loop takes a vector of blocks."""
    f = Function(module, SYMBOL, [("ptr", "job")], internal=False)
    job = {name: f.load(f.offset(f["job"], "i64", i), type) for i, (name, type) in enumerate(_FIELDS)}
    lanes = f.target.vector_bytes // 8
    seed, stream = (f.splat(job[name], lanes) for name in ("seed", "stream"))
    slope, start, scale, offset = (f.splat(job[name], lanes) for name in ("slope", "start", "scale", "offset"))
    site = f.lshr(stream, 32)
    with f.loop(0, job["count"], step=2 * lanes, may_be_empty=True) as loop:
        index = f.add(f.splat(f.lshr(loop.index, 1), lanes), f.lane_ids(lanes))
        halves = []
        for bits in both_53_bits(f, index, seed, stream, site):
            u = f.fmul(f.sitofp(bits, "double"), 2.0**-53)
            halves.append(f.fadd(offset, f.fmul(scale, f.fadd(f.fmul(slope, u), start))))
        values = f.shuffle(halves[0], halves[1], [half * lanes + lane for lane in range(lanes) for half in (0, 1)])
        left = f.sub(job["count"], loop.index)
        mask = f.tail_mask(f.select(f.icmp("slt", left, 2 * lanes), left, 2 * lanes), 2 * lanes)
        with f.when(f.icmp("ne", job["is_f64"], 0)):
            f.masked_store(values, f.offset(job["destination"], "double", loop.index), mask)
        with f.when(f.icmp("eq", job["is_f64"], 0)):
            f.masked_store(f.fptrunc(values, "float"), f.offset(job["destination"], "float", loop.index), mask)
    f.ret()
    return module.add(f)
