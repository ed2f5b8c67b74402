"""Text of a model file -> checked graph; pure, no input or output."""
