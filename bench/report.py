"""The table: as text on the terminal, as markdown in RESULTS.md."""

from __future__ import annotations

import os
import platform
import re
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from bench.measure import Bar, Figures, Row

PACKAGES = ("mcp", "ipykernel", "jupyter_client", "ipython", "pyzmq", "tornado", "pydantic", "anyio")
HEADINGS = ("what is measured", "ours", "compared with", "theirs", "ratio", "bar", "")


def machine() -> str:
    """Processor, cores, memory and system; nothing that identifies this particular machine."""
    model = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists() and (found := re.search(r"^model name\s*: (.+)$", cpuinfo.read_text(), re.MULTILINE)):
        model = found[1].strip()
    memory_gb = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / (1 << 30)
    release = platform.release().partition("-")[0]
    return f"{model}, {os.cpu_count()} cores, {memory_gb:.0f} GB, {platform.system()} {release}"


def versions() -> str:
    """The versions that both sides run on."""
    packages = ", ".join(f"{name} {version(name)}" for name in PACKAGES)
    return f"Python {platform.python_version()}, {packages}"


def now() -> str:
    """The date of the figures."""
    return datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")


def cells(row: Row) -> tuple[str, ...]:
    """A row's cells, in the order of `HEADINGS`."""
    return (
        row.what,
        _figure(row.ours, row.unit),
        row.against,
        _figure(row.other, row.unit) if row.other is not None else "",
        _ratio(row.ratio) if row.ratio is not None else "",
        _bar(row.bar, row.unit) if row.bar is not None else "",
        {None: "", True: "met", False: "MISSED"}[row.met],
    )


def _ratio(ratio: float) -> str:
    """A small one has digits too."""
    return f"{ratio:.2f}" if ratio == 0 or ratio >= 0.1 else f"{ratio:.4f}"


def _figure(figures: Figures, unit: str) -> str:
    digits = 0 if figures.median >= 100 else 1 if figures.median >= 10 else 2
    low, high = figures.spread
    spread = f" ({low:,.{digits}f} to {high:,.{digits}f})" if len(figures.samples) > 1 else ""
    return f"{figures.median:,.{digits}f} {unit}{spread}"


def _bar(bar: Bar, unit: str) -> str:
    return f"{bar.sense} {bar.limit:g}" + (f" {unit}" if bar.of == "ours" else "")


def _why(row: Row) -> str:
    return row.why_missed or "nothing is known about it yet"


def text_table(rows: Sequence[Row]) -> str:
    """The table for a terminal, followed by what is known about each miss."""
    table = [HEADINGS, *(cells(row) for row in rows)]
    widths = [max(len(line[column]) for line in table) for column in range(len(HEADINGS))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in table]
    lines.insert(1, "  ".join("-" * width for width in widths))
    return "\n".join([*lines, *(f"\nMISSED {row.what}: {_why(row)}" for row in missed(rows))])


def markdown(rows: Sequence[Row]) -> str:
    """The content of RESULTS.md."""
    lines = [
        "# Benchmark results",
        "",
        (
            "`bin/bench` writes this file; do not edit it. The figures are medians, with the 10th and the 90th "
            "percentile in brackets. Both sides of a row are measured in turn, in one run. Ours is `rlm-kernel-mcp "
            "serve`, a server for each client, where a row does not speak of a front or a host."
        ),
        "",
        f"- Date: {now()}",
        f"- Machine: {machine()}",
        f"- Versions: {versions()}",
        "",
        "| " + " | ".join(HEADINGS) + " |",
        "|" + "---|" * len(HEADINGS),
        *("| " + " | ".join(cell.replace("|", "\\|") for cell in cells(row)) + " |" for row in rows),
    ]
    if missing := missed(rows):
        lines += ["", "## Missed, and what is known about it", ""]
        lines += [f"- {row.what}: {_why(row)}" for row in missing]
    return "\n".join(lines) + "\n"


def missed(rows: Sequence[Row]) -> list[Row]:
    """The rows whose bar is missed."""
    return [row for row in rows if row.met is False]
