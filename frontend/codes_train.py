"""GC06xx to GC09xx: derivatives and training, recursion, limits, and what this version does not build."""

from __future__ import annotations

from graphc.diagnostics import Explanation as E

HEAD = "model m(x: f32[3]) -> (y: f32[3]):\n"
MODEL = (
    "dim B\nmodel m(x: f32[B, 3]) -> (y: f32[B]):\n    param w: f32[3] = zeros()\n    y = x @ w\n"
    "train m:\n    input t: f32[B]\n"
)
LOGITS = (
    "dim B\nmodel m(x: f32[B, 3]) -> (p: f32[B, 4]):\n    param w: f32[3, 4] = zeros()\n    z = x @ w\n"
    "    p = softmax(z)\ntrain m:\n    input t: i32[B]\n"
)
RIGHT = MODEL + "    loss = mse(y, t)\n    optimizer = sgd(lr=0.1)\n"

TRAIN_CODES = (
    E(
        "GC0601",
        "a wrong gradient rule",
        "`grad x = ...` in a block replaces the derivative by its argument x; d(y) is the cotangent of its output y.",
        "block f(x: f32[3]) -> (y: f32[3]):\n    y = x\n    grad z = d(y)\n",
        "block f(x: f32[3]) -> (y: f32[3]):\n    y = x\n    grad x = d(y)\n",
    ),
    E(
        "GC0602",
        "only a float scalar has a derivative",
        "A loss, and the y of grad(y, x), is one float: take the mean or the sum. Derivatives are taken by floats.",
        MODEL + "    loss = y - t\n    optimizer = sgd(lr=0.1)\n",
        RIGHT,
    ),
    E(
        "GC0603",
        "no parameter fits the pattern",
        'Patterns are paths of parameters in which * stands for any text: "w", "*.w", "layers.0.*".',
        RIGHT.replace("mse(y, t)", 'mse(y, t) + sum_squares("v*")'),
        RIGHT.replace("mse(y, t)", 'mse(y, t) + sum_squares("w*")'),
    ),
    E(
        "GC0604",
        "a state changes outside of training",
        "A state is carried from one training step to the next, so it changes only below `when training:`.",
        HEAD + "    state s: f32[3] = zeros()\n    s = s + x\n    y = s\n",
        HEAD + "    state s: f32[3] = zeros()\n    when training:\n        s = s + x\n    y = s\n",
    ),
    E(
        "GC0605",
        "a parameter has no initial value",
        "Say how it starts; zeros() is a value, too.",
        HEAD + "    param b: f32[3]\n    y = x + b\n",
        HEAD + "    param b: f32[3] = zeros()\n    y = x + b\n",
    ),
    E(
        "GC0606",
        "an incomplete or wrong train section",
        "A train section has a loss and an optimizer; hyper-parameters are float scalars that start as numbers.",
        MODEL + "    loss = mse(y, t)\n",
        RIGHT,
    ),
    E(
        "GC0607",
        "a loss of logits is given probabilities (a warning)",
        "`cross_entropy` applies softmax itself, and `binary_cross_entropy` sigmoid: they take what stands before.\n"
        "Given probabilities they apply it twice; such a model learns slowly and never becomes sure.\n"
        "The loss of log-probabilities is `nll`.",
        LOGITS + "    loss = cross_entropy(p, t)\n    optimizer = sgd(lr=0.1)\n",
        LOGITS + "    loss = cross_entropy(z, t)\n    optimizer = sgd(lr=0.1)\n",
    ),
    E(
        "GC0608",
        "a setting of fit in a train section (a warning)",
        "A train section says what is minimised, and how. How long, and in which batches, is said when a model is\n"
        "trained.",
        MODEL + "    epochs = 10\n    loss = mse(y, t)\n    optimizer = sgd(lr=0.1)\n",
        RIGHT,
    ),
    E(
        "GC0701",
        "a recursive definition",
        "Blocks are expanded where they are called, so none can call itself, also not through others.",
        "block f(x: f32) -> (y: f32):\n    y = f(x)\n",
        "block f(x: f32) -> (y: f32):\n    y = relu(x)\n",
    ),
    E(
        "GC0801",
        "the model is too large",
        "All blocks together expand to at most 200,000 steps and 20,000 instances.",
        "use std.nn: dense\n"
        + HEAD
        + "    param l[30000] = dense[O=3]\n    for one in l:\n        x = one(x)\n    y = x\n",
        "use std.nn: dense\n"
        + HEAD
        + "    param l[30] = dense[O=3]\n    for one in l:\n        x = one(x)\n    y = x\n",
    ),
    E(
        "GC0802",
        "blocks call each other too deeply",
        "Calls of blocks inside of blocks and expressions inside of expressions nest at most 2,000 deep together.",
        "# (a chain of thousands of blocks, each calling the one before)",
        HEAD + "    y = x\n",
    ),
    E(
        "GC0803",
        "a tensor is too large",
        "A tensor has at most 8 axes, each below 2^31, and 2^47 elements. Sizes are computed exactly "
        "and checked before\n"
        "any memory is asked for.",
        "model m(x: f32[3000000000]) -> (y: f32):\n    y = sum(x)\n",
        "model m(x: f32[3000000]) -> (y: f32):\n    y = sum(x)\n",
    ),
    E(
        "GC0902",
        "a function that this version does not have",
        "Initialisers as values are part of the language but not built yet.",
        HEAD + "    y = x * truncated_normal()\n",
        HEAD + "    y = relu(x)\n",
    ),
    E(
        "GC0903",
        "an element type that this version does not have",
        "f16 is not built yet. bf16 is no type of stored values, but what `compute = bf16` rounds the operands of "
        "products to.",
        "precision params = bf16, compute = bf16\n",
        "precision params = f32, compute = bf16\n",
    ),
    E(
        "GC0905",
        "a diagonal in einsum is not built yet",
        "A label stands once in a term.",
        "model m(x: f32[3, 3]) -> (y: f32):\n    y = einsum(x[i, i] -> [])\n",
        "model m(x: f32[3, 3]) -> (y: f32):\n    y = einsum(x[i, j] -> [])\n",
    ),
)
