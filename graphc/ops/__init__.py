"""The ops: one class holds all an op is (type, derivative, reference, lowering).

Importing this package fills the registry `graphc.ir.node.OPS`.
"""

from graphc.ops import (
    arithmetic,
    bfloat,
    comparison,
    contraction,
    control,
    convolution,
    functions,
    indexing,
    leaf,
    movement,
    neural,
    order,
    pooling,
    random,
    reduction,
    scan,
    window,
)

FAMILIES = (
    leaf,
    arithmetic,
    functions,
    comparison,
    reduction,
    movement,
    window,
    indexing,
    order,
    contraction,
    bfloat,
    convolution,
    pooling,
    random,
    control,
    scan,
    neural,
)
"""The modules in the order of the documentation."""
