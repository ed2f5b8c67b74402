"""`graphc bench --kernels`: where the time of an entry goes."""

from __future__ import annotations

import argparse
import sys

from graphc.cli_compile import compile_options
from graphc.cli_model import bench_rows, bench_sizes, entry_calls
from graphc.cli_report import say
from graphc.runtime.errors import OptionError, counted


def run_kernels(arguments: argparse.Namespace, entry: str) -> int:
    """The table of the kernels of one entry of a model file, the longest first."""
    from graphc import driver
    from graphc.kernel_times import TimedModel, measure_peak

    if not arguments.file.endswith(".gc"):
        raise OptionError(f"{arguments.file} is compiled already: its kernels can be timed from the model file")
    timed = TimedModel(driver.compilation(arguments.file, **compile_options(arguments)))
    calls = entry_calls(timed.model, arguments.batch)
    if entry not in calls:
        raise OptionError(f"this model has no entry `{entry}` to time; it has {', '.join(calls)}")
    sizes = bench_sizes(timed.model, arguments.batch)
    found = timed.times(entry, calls[entry], sizes, arguments.seconds)
    peak = measure_peak(timed.target)
    total = sum(one.seconds for one in found)
    rows = bench_rows(timed.model, arguments.batch)
    batch = f"batch {rows}, " if rows else ""
    say(f"{entry}: {counted(len(found), 'kernel')}, {total * 1e6:,.1f} us; {batch}one thread")
    say(f"the machine: {peak.operations / 1e9:,.0f} GFLOP/s of f32, {peak.bandwidth / 1e9:,.0f} GB/s")
    out = sys.stdout
    out.write(f"{'kernel':>7}{'us':>12}{'share':>8}{'GFLOP/s':>10}{'GB/s':>8}{'roofline':>10}  what\n")
    for one in sorted(found, key=lambda one: -one.seconds):
        speed, moved = one.operations / one.seconds / 1e9, one.moved / one.seconds / 1e9
        figures = f"{one.seconds * 1e6:12,.2f}{one.seconds / total:8.1%}{speed:10,.1f}{moved:8,.1f}"
        out.write(f"{'k' + str(one.number):>7}{figures}{one.share_of_roofline(peak):10.0%}  {one.what}\n")
    return 0
