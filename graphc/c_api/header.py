"""The header of a compiled model: every function with its meaning, every variable with its type and shape."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from graphc.c_api.layout import CODES, Layout
from graphc.c_api.names import comment
from graphc.runtime.dimexpr import Expr, show_shape
from graphc.runtime.entry import is_figure
from graphc.runtime.signature import Entry, Leaf

TYPES = {
    "f64": "double",
    "f32": "float",
    "i64": "int64_t",
    "i32": "int32_t",
    "i8": "int8_t",
    "u8": "uint8_t",
    "bool": "uint8_t",
}
ROLES = {
    "param": "parameter",
    "slot": "slot of the optimiser",
    "hyper": "hyper-parameter",
    "step": "number of the next step, from 1",
}
ENTRIES = {
    "forward": "The outputs for a batch.",
    "step": "One training step: losses and metrics as they were before it; parameters and slots change.",
    "evaluate": "Losses and metrics of a batch; nothing changes.",
    "gradients": "Losses and metrics, and the gradient of each trained parameter; nothing changes.",
    "apply": "The optimiser's update with given gradients; counts as a step.",
}
TOP = """\
//
// How it is used:
//     struct PREFIX_ctx *model;
//     PREFIX_open(&model, NULL);
//     PREFIX_set_arena(model, NULL, PREFIX_arena_bytes(DIMS));       for the largest sizes there will be
//     PREFIX_load(model, data, bytes);                             values from Python's model.save_flat or PREFIX_store
//     if (PREFIX_forward(model, ...) != UPPER_OK) puts(PREFIX_last_error(model));
//     PREFIX_close(model);
// After _open and _set_arena nothing is allocated, and there are no global variables. Arrays are dense, row by row;
// inputs and outputs overlap neither with each other nor with the context.
#ifndef GRAPHC_UPPER_H
#define GRAPHC_UPPER_H
#include <stdint.h>
#ifdef __cplusplus
extern "C" {
#endif

// The variables of a model, and where its scratch memory is. One is used by one thread at a time; there may be many.
struct PREFIX_ctx;
"""
MEMORY = """\
// What the last function that failed has to say.
const char *PREFIX_last_error(const struct PREFIX_ctx *context);

// A context in `memory` (PREFIX_context_bytes(), aligned to 64), or, if it is NULL, in memory of the library. Variables
// are zero, hyper-parameters as in the model file, and the next step is the first.
int64_t PREFIX_context_bytes(void);
int PREFIX_open(struct PREFIX_ctx **context, void *memory);
// Gives back what the library allocated; NULL is allowed.
void PREFIX_close(struct PREFIX_ctx *context);

// How many threads a call may use: 1 at first, at most 64. They are started here, wait without using a CPU, and end
// with the next call of this function or with PREFIX_close. What is computed does not depend on their number.
int PREFIX_set_threads(struct PREFIX_ctx *context, int threads);

// Scratch memory that suffices for every function at these sizes and threads; -1 if they are not allowed.
int64_t PREFIX_arena_bytes(DIMENSIONS);
// The scratch memory of later calls: `memory` (aligned to 64), or, if it is NULL, memory of the library.
int PREFIX_set_arena(struct PREFIX_ctx *context, void *memory, int64_t bytes);

// All variables as one block of bytes, as Python's model.save_flat writes and model.load_flat reads it.
int64_t PREFIX_data_bytes(void);
int PREFIX_load(struct PREFIX_ctx *context, const void *data, int64_t bytes);  // changes nothing if it fails
int PREFIX_store(struct PREFIX_ctx *context, void *data, int64_t bytes);

// The variables by number. They may be read and written between calls.
void *PREFIX_tensor(struct PREFIX_ctx *context, int number);  // its first element; NULL for another number
int64_t PREFIX_tensor_bytes(int number);
const char *PREFIX_tensor_name(int number);
"""
BOTTOM = """\
#ifdef __cplusplus
}
#endif
#endif
"""


def header(plan: Layout) -> str:
    """The text of the header file."""
    signature = plan.signature
    lines = [
        *comment(f"{signature.name}: a model compiled by graphc {signature.version}; this file is made by it."),
        *comment(signature.doc),
        _filled(TOP, plan),
        *_codes(plan),
        _filled(MEMORY, plan),
        *_tensors(plan),
        *(line for key, entry in signature.entries.items() for line in _entry(plan, key, entry)),
        BOTTOM,
    ]
    return "\n".join(lines)


def _filled(text: str, plan: Layout) -> str:
    names = list(plan.dims.values())
    dimensions = ", ".join([*(f"int64_t {name}" for name in names), "int threads"])
    text = text.replace("DIMENSIONS", dimensions).replace("DIMS", ", ".join([*names, "1"]))
    return text.replace("PREFIX", plan.prefix).replace("UPPER", plan.prefix.upper())


def _codes(plan: Layout) -> Iterator[str]:
    yield "// What functions return."
    yield "enum {"
    for number, (name, meaning) in enumerate(CODES):
        yield f"    {plan.prefix.upper()}_{name} = {number},  // {_filled(meaning, plan)}"
    yield "};\n"


def _tensors(plan: Layout) -> Iterator[str]:
    yield "enum {"
    for number, leaf in enumerate(plan.variables):
        yield from comment(leaf.doc, "    ")
        note = f"{leaf.name.lstrip('#')}: {_type(leaf.dtype, leaf.shape)}, {ROLES.get(leaf.role, leaf.role)}"
        yield f"    {plan.constants[leaf.name]} = {number},  {comment(note)[0]}"
    yield "};\n"


def _entry(plan: Layout, key: str, entry: Entry) -> Iterator[str]:
    """The declaration of an entry's function."""
    inputs, outputs = plan.parameters(entry)
    yield f"// {ENTRIES[key]}"
    parameters = [f"struct {plan.prefix}_ctx *context"]
    parameters += [f"int64_t {plan.dims[name]}" for name in plan.dims_of(entry)]
    for name, (leaf, _) in zip(inputs, plan.given(entry), strict=True):
        yield from comment(f"    {name}: {_type(leaf.dtype, leaf.shape)}, read" + _doc(leaf))
        parameters.append(f"const {TYPES[leaf.dtype]} *{name}")
    for name, output in zip(outputs, entry.outputs, strict=True):
        what = "one number" if is_figure(key, output) else _type(output.dtype, output.shape)
        yield from comment(f"    {name}: {what}, written")
        parameters.append(f"{TYPES[output.dtype]} *{name}")
    yield _declaration(f"int {plan.prefix}_{key}", parameters)
    yield ""


def _type(dtype: str, shape: Sequence[Expr]) -> str:
    return f"{dtype}{show_shape(tuple(shape))}"


def _doc(leaf: Leaf) -> str:
    return f": {leaf.doc}" if leaf.doc else ""


def _declaration(head: str, parameters: Sequence[str]) -> str:
    line = f"{head}({', '.join(parameters)});"
    return line if len(line) <= 120 else f"{head}(\n    " + ",\n    ".join(parameters) + ");"
