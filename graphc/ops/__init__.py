"""The ops: one class holds all an op is (type, derivative, reference, lowering).

Importing this package fills the registry `graphc.ir.node.OPS`.
"""

from graphc.ops import (
    arithmetic,
    comparison,
    contraction,
    control,
    functions,
    indexing,
    leaf,
    movement,
    neural,
    reduction,
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
    contraction,
    control,
    neural,
)
"""The modules in the order of the documentation."""
