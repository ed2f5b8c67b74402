"""The records of a run: one table with a row for each candidate on a terminal, two tables in Markdown."""

from __future__ import annotations

from math import prod
from typing import Any

HEAD = [
    "workload", "threads", "candidate", "time", "speed to best peer", "GFLOP/s or GB/s", "% of peak",
    "compile", "first call", "memory MiB",
]  # fmt: skip


def duration(seconds: float) -> str:
    """Three digits and a unit."""
    for factor, unit in ((1.0, "s"), (1e-3, "ms"), (1e-6, "us")):
        if seconds >= factor or unit == "us":
            number = seconds / factor
            return f"{number:.0f} {unit}" if number >= 100 else f"{number:.3g} {unit}"
    return ""


def rows(record: dict[str, Any]) -> list[list[str]]:
    """A row for each candidate; its ratio is the best peer's time by its own, above 1 where it is the faster."""
    times = {result["candidate"]: result["median_s"] for result in record["results"]}
    rivals = [seconds for name, seconds in times.items() if name != "graphc"]
    work, top = (record["bytes"], record["copy_gbs"]) if record["bytes"] else (record["flops"], record["peak_gflops"])
    found = []
    for result in record["results"]:
        name, seconds = result["candidate"], result["median_s"]
        speed = work / seconds / 1e9
        found.append(
            [
                record["workload"],
                str(record["threads"]),
                name,
                duration(seconds),
                f"{min(rivals) / seconds:.2f}" if rivals else "",
                f"{speed:.3g}" if speed < 100 else f"{speed:.0f}",
                f"{100 * speed / top:.0f}",
                duration(result["compile_s"]),
                duration(result["first_call_s"]),
                f"{result['peak_mib']:.0f}",
            ]
        )
    return found


def text(records: list[dict[str, Any]], markdown: bool) -> str:
    if markdown:
        return speeds(records) + "\n\n" + preparations(records)
    body = [row for record in records for row in rows(record)]
    widths = [max(len(row[i]) for row in [HEAD, *body]) for i in range(len(HEAD))]
    return "\n".join(
        "  ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)).rstrip() for row in [HEAD, *body]
    )


def speeds(records: list[dict[str, Any]]) -> str:
    """A row for each workload and number of threads: times of all candidates, the best in bold; then graphc's rates."""
    names = candidates(records)
    body = []
    for record in records:
        times = {result["candidate"]: result["median_s"] for result in record["results"]}
        best = min(times.values())
        cells = [f"**{duration(t)}**" if (t := times.get(name)) == best else duration(t) if t else "" for name in names]
        _, _, _, _, ratio, rate, share, *_ = rows(record)[0]
        body.append([record["workload"], str(record["threads"]), *cells, ratio, rate, share])
    return lines(["workload", "threads", *names, *HEAD[4:7]], body)


def preparations(records: list[dict[str, Any]]) -> str:
    """A row for each workload: what each candidate takes to compile, for its first call, and in memory."""
    names = candidates(records)
    body = []
    first = {record["workload"]: record for record in reversed(records)}  # on the first number of threads
    for workload in dict.fromkeys(record["workload"] for record in records):
        found = {row[2]: ", ".join(row[7:]) for row in rows(first[workload])}
        body.append([workload, *(found.get(name, "") for name in names)])
    return lines(["compile, first call, MiB", *names], body)


def candidates(records: list[dict[str, Any]]) -> list[str]:
    """Names, in the order in which they are measured."""
    return list(dict.fromkeys(result["candidate"] for record in records for result in record["results"]))


def lines(head: list[str], body: list[list[str]]) -> str:
    return "\n".join("| " + " | ".join(row) + " |" for row in [head, ["---"] * len(head), *body])


def summary(records: list[dict[str, Any]]) -> str:
    """By number of threads: the machine's limits, what others used of it, and the mean of the ratios."""
    lines = []
    for threads in dict.fromkeys(record["threads"] for record in records):
        those = [record for record in records if record["threads"] == threads]
        peak, copy = (max(record[key] for record in those) for key in ("peak_gflops", "copy_gbs"))
        others = max(record["others"] for record in those)
        line = f"{threads} thread(s): peak {peak:.0f} GFLOP/s, copy {copy:.0f} GB/s"
        if ratios := [ratio for record in those if (ratio := speed_to_best(record))]:
            line += (
                f"; speed to the best peer, geometric mean of {len(ratios)}: {prod(ratios) ** (1 / len(ratios)):.2f}"
            )
        if others > 0.06:
            line += f"; other processes used up to {others:.2f} processors: not to be trusted"
        lines.append(line)
    return "\n".join(lines)


def speed_to_best(record: dict[str, Any]) -> float:
    """The best peer's time by graphc's; 0 if there is no peer."""
    times = {result["candidate"]: result["median_s"] for result in record["results"]}
    ours = times.pop("graphc")
    return min(times.values()) / ours if times else 0.0
