"""Checks of what no model reaches: blocks on their own, with their dimensions as free symbols; constants; optimizers."""

from __future__ import annotations

from graphc.frontend import syntax as s
from graphc.frontend.arithmetic import Operand
from graphc.frontend.resolve import ModuleScope
from graphc.frontend.scope import DimBinding, Shared


def check_module(shared: Shared, module: ModuleScope, dims: dict[str, DimBinding]) -> None:
    """Every declaration of the file that is compiled."""
    for one in module.tree.declarations:
        match one:
            case s.Constant():
                from graphc.frontend.constant import constant_value

                constant_value(shared, one, module)


__all__ = ["Operand", "check_module"]
