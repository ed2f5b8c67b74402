"""A compiled model as a library for C: its functions in LLVM IR, and its header."""
