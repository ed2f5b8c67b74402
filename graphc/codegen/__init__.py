"""Optimised graph -> kernels -> LLVM IR -> object code."""
