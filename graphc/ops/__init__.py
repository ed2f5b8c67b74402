"""The ops: one class holds all an op is (type, derivative, reference, lowering)."""
