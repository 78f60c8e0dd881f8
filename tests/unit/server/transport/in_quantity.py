"""Connections that come and go in one process: threads, descriptors, tasks and memory are then as before.

`bin/soak connections --count 1000`. Is: `serve_connection` over pipes, socket pairs and terminals in turn, with a page
or without, ended by the end of its input or by that of its front. Is not: a host and its fronts, nor sessions and their
kernels.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from tests.unit.server.transport.clients import come_and_go, left_behind, things

GROWTH_MAX: Final = 0.05
"""Of the memory that the process has after a tenth of the connections: by then what is made once has been made."""
AT_ONCE: Final = 10


def memory_bytes() -> int:
    """What this process has of its own. Of files that it shares, its part would change as others come and go."""
    gc.collect()
    rows = dict(line.split(":") for line in Path("/proc/self/smaps_rollup").read_text("ascii").splitlines()[1:])
    return int(rows["Anonymous"].split()[0]) * 1024


async def run(count: int) -> int:
    """Let them come and go; says what was left behind, and returns the exit status."""
    await come_and_go(max(count // 10, 2 * AT_ONCE), AT_ONCE)
    before, memory = await things(), memory_bytes()
    await come_and_go(count, AT_ONCE)
    left, grown = await left_behind(before), memory_bytes() - memory
    print(f"{count:,} connections, {AT_ONCE} at once: left behind {dict(left) or 'nothing'}")
    print(f"memory: {memory / 1e6:.1f} MB before, {grown / 1e6:+.1f} MB ({grown / memory:+.1%}) after")
    return int(left != Counter() or grown > GROWTH_MAX * memory)


def main(argv: Sequence[str]) -> int:
    """Run it by the command line."""
    parser = argparse.ArgumentParser(prog="bin/soak connections", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--count", type=int, default=1_000, help="connections (default: %(default)s)")
    return asyncio.run(run(parser.parse_args(argv).count))
