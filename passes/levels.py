"""The passes by name, and the optimisation levels as plain lists that a person reads."""

from __future__ import annotations

from graphc.passes.decompose import decompose, drop_gradient_marks
from graphc.passes.fold_constants import fold_constants
from graphc.passes.fuse import fuse_elementwise, fuse_epilogue, fuse_reduction
from graphc.passes.fuse_strips import fuse_strips
from graphc.passes.normalise_contract import normalise_contract
from graphc.passes.normalise_convolution import normalise_convolution
from graphc.passes.pair_operands import pair_operands
from graphc.passes.pipeline import Pass, Pipeline, parse_pipeline
from graphc.passes.scan_motion import scan_motion
from graphc.passes.simplify import simplify, simplify_fast_math
from graphc.passes.sink_movement import sink_movement
from graphc.passes.sparse_updates import sparse_updates
from graphc.passes.split_parts import split_parts
from graphc.passes.tidy_scans import tidy_scans

FUSION: tuple[Pass, ...] = (fuse_epilogue, fuse_reduction, fuse_elementwise, fuse_strips)
"""fuse-epilogue, fuse-reduction, fuse-elementwise, in this order: an epilogue takes the bias and activation of a
contraction before a neighbour does.  Then fuse-strips joins contractions with the rows between them."""

LOWERABLE = (
    drop_gradient_marks,  # only derivatives read them
    decompose,  # softmax and friends become primitives, for fusion to see
    normalise_convolution,  # what is a matrix product becomes a contraction
    normalise_contract,  # what is no matrix product becomes a product and a sum
)
"""What every level does: kernels exist for the ops that remain."""

O0 = (*LOWERABLE, pair_operands)
O1 = (
    tidy_scans,  # one loop for a recurrence and what its derivative reads of it
    simplify,
    *LOWERABLE,
    scan_motion,  # products over whole sequences out of loops
    tidy_scans,
    simplify,  # what decompositions and normal forms left
    sparse_updates,  # while the updates are still whole
    pair_operands,  # once products are where they stay
)
O2 = (
    *O1,
    split_parts,  # gates follow their product
    sink_movement,  # reshapes and transposes out of the way of fusion
    *FUSION,
)

LEVELS = {"O0": O0, "O1": O1, "O2": O2}
PASSES: dict[str, Pass] = {
    one.name: one
    for one in (
        fold_constants, simplify, simplify_fast_math, drop_gradient_marks, decompose, normalise_convolution,
        normalise_contract, sparse_updates, sink_movement, tidy_scans, scan_motion,
        pair_operands, split_parts, *FUSION,
    )
}  # fmt: skip


def pipeline(text: str) -> Pipeline:
    """The pipeline of a level (`O0`, `O1`, `O2`) or of a list of passes such as `fold-constants,simplify`.

    Raises ValueError for an unknown name, listing the known ones.
    """
    if text.strip() in LEVELS:
        return Pipeline(LEVELS[text.strip()])
    return parse_pipeline(text, PASSES)
