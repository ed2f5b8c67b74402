"""The workloads W1 to W10 and LSTM on graphc and on its peers that are installed, taking turns in one process per row.

    python tests/bench/workloads.py [W1 W2-b32 ...] [--threads 1,2] [--quick] [--json FILE] [--markdown]
    python tests/bench/workloads.py --markdown --from FILE         the table of an earlier run, again

Before anything is timed, losses of a few steps (outputs, of inference) are compared with those of each peer.  Rows with
one thread are pinned to the idler processor.  Peers run as an expert would set them up (docs/performance.md); --stock
leaves them as they are installed.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

# glibc gives large blocks back to the system when they are freed, and each page faults again
KEEP_MEMORY = {"MALLOC_MMAP_THRESHOLD_": str(4 << 30), "MALLOC_TRIM_THRESHOLD_": str(16 << 30)}
# The MKL within PyTorch takes its AVX-512 code on processors of one maker only; a function of ours answers it
MKL_SHIM = "int mkl_serv_intel_cpu_true(void) { return 1; }\nint mkl_serv_intel_cpu(void) { return 1; }\n"
LIBRARIES = ("OMP", "OPENBLAS", "MKL")


def environment(threads: int, stock: bool, folder: Path) -> dict[str, str]:
    """Of a row's process: threads of all libraries, AVX-512 for OpenBLAS and MKL, memory that is kept."""
    found = {name: value for name, value in os.environ.items() if not name.startswith(("OPENBLAS", "XLA", "JAX"))}
    found |= {f"{library}_NUM_THREADS": str(threads) for library in LIBRARIES}
    found["GRAPHC_CACHE"] = "0"  # compile time is measured
    found["NPROC"] = str(threads)  # JAX's
    flags = ["--xla_cpu_multi_thread_eigen=false"] if threads == 1 else []  # else another thread makes all products
    found["XLA_FLAGS"] = " ".join(flags)
    if stock:
        return found
    found |= KEEP_MEMORY
    if "avx512bw" in Path("/proc/cpuinfo").read_text():
        found["OPENBLAS_CORETYPE"] = "SkylakeX"  # it does not recognise every processor that has AVX-512
        found["XLA_FLAGS"] = " ".join([*flags, "--xla_cpu_prefer_vector_width=512"])  # 256 bits, if not told
    shim = folder / "mkl.so"
    if not shim.exists() and (compiler := shutil.which("cc")) is not None:
        source = folder / "mkl.c"
        source.write_text(MKL_SHIM)
        subprocess.run([compiler, "-shared", "-fPIC", "-o", str(shim), str(source)], check=True)
    if shim.exists():
        found["LD_PRELOAD"] = str(shim)
    return found


def run_row(name: str, threads: int, options: argparse.Namespace, folder: Path) -> dict[str, Any] | None:
    """The record of one case, measured in a process of its own; None if that failed, after saying why."""
    command = [sys.executable, __file__, name, "--row", str(threads), "--seconds", str(options.seconds)]
    command += [
        flag
        for flag in ("--quick", "--compile", "--no-check", "--alone")
        if getattr(options, flag[2:].replace("-", "_"))
    ]
    child = subprocess.run(command, env=environment(threads, options.stock, folder), stdout=subprocess.PIPE, text=True)
    if child.returncode:
        print(f"{name} on {threads} thread(s) failed", file=sys.stderr)
        return None
    record: dict[str, Any] = json.loads(child.stdout)
    return record | {"stock": options.stock}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", help="W1 .. W10, LSTM, or single rows; all if there are none")
    parser.add_argument("--threads", default="1,2", help="numbers of threads, separated by commas")
    parser.add_argument("--seconds", type=float, default=1.0, help="of timing for each candidate of each row")
    parser.add_argument("--quick", action="store_true", help="a fifth of that, fewer rows, results are not compared")
    parser.add_argument("--compile", action="store_true", help="torch.compile too: half a minute more for each row")
    parser.add_argument("--stock", action="store_true", help="peers as they are installed")
    parser.add_argument("--no-check", action="store_true", help="do not compare results first")
    parser.add_argument("--alone", action="store_true", help="no peers: steps follow each other, with warm caches")
    parser.add_argument("--json", type=Path, help="write all records to this file")
    parser.add_argument("--from", dest="earlier", type=Path, help="measure nothing; show the records of this file")
    parser.add_argument("--markdown", action="store_true", help="the table in Markdown")
    parser.add_argument("--row", type=int, help=argparse.SUPPRESS)  # the process of one row, its number of threads
    options = parser.parse_args()

    from workloads import QUICK, select, table

    if options.row:
        from workloads.measure import measure

        seconds = options.seconds / 5 if options.quick else options.seconds
        check = not (options.quick or options.no_check)
        case = select(options.names)[0]
        print(json.dumps(measure(case, options.row, seconds, options.compile, check, options.alone)))
        return 0
    if options.earlier:
        records = json.loads(options.earlier.read_text())
    else:
        records = run_all([case.name for case in select(options.names or (QUICK if options.quick else []))], options)
    print(table.text(records, options.markdown))
    print()
    print(table.summary(records))
    return 0


def run_all(names: list[str], options: argparse.Namespace) -> list[dict[str, Any]]:
    """All rows; each is shown on stderr when it is done, and the file has all that are done."""
    from workloads import table

    records = []
    started = time.perf_counter()
    with tempfile.TemporaryDirectory(prefix="workloads-") as folder:
        for name in names:
            for threads in (int(number) for number in options.threads.split(",")):
                record = run_row(name, threads, options, Path(folder))
                if record is None:
                    continue
                records.append(record)
                for row in table.rows(record):
                    print("  ".join(row), file=sys.stderr, flush=True)
                if options.json:
                    options.json.write_text(json.dumps(records, indent=1))
    print(f"{time.perf_counter() - started:.0f} s\n", file=sys.stderr)
    return records


if __name__ == "__main__":
    sys.exit(main())
