"""Hostile files as contexts: bombs, loops, trees and files that change, names that are no text, lines of gigabytes.

`bin/soak hostile [PART ...] --scale 1 --seed 0`. Is: a real registry with real kernels and loaders, and after
each part the question whether anything is left: processes, disk, a session that does not answer. Is not: real
directories (`bin/soak sources`), nor the walls (`tests/escape`).

The two large parts write `10 GB * scale` each below /var/tmp, one after the other.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Final

from tests.sessions import open_registry
from tests.soaks.hostile import large, trees
from tests.soaks.hostile.room import HostileRoom

Part = Callable[[HostileRoom], Awaitable[str]]
PARTS: Final[dict[str, Part]] = {
    "bombs": trees.bombs,
    "loops": trees.loops,
    "walked": trees.walked,
    "names": trees.names,
    "written": large.written,
    "one-line": large.one_line,
    "newlines": large.newlines,
}
POLICY: Final = {"context": {"in_memory_mb": 1}}


async def _run(parts: Sequence[str], scale: float, seed: int) -> list[str]:
    problems: list[str] = []
    with tempfile.TemporaryDirectory(prefix="rlm-hostile-", dir="/var/tmp") as place:
        data, state = Path(place, "data"), Path(place, "state")
        data.mkdir()
        async with open_registry(state, policy=POLICY, RLM_CONTEXT_ROOTS=str(data)) as registry:
            for name in parts:
                (data / name).mkdir()
                room = HostileRoom(registry, data / name, scale, seed)
                began = time.monotonic()
                said = await PARTS[name](room)
                await room.leave()
                print(f"{name}: {said}; {time.monotonic() - began:,.0f} s; wrong: {len(room.problems)}", flush=True)
                problems += [f"{name}: {problem}" for problem in room.problems]
    return problems


def main(argv: Sequence[str]) -> int:
    """Run it; returns the exit status."""
    parser = argparse.ArgumentParser(prog="bin/soak hostile", description=__doc__)
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"default: all of {', '.join(PARTS)}")
    parser.add_argument("--scale", type=float, default=1.0, help="of sizes and rounds (default 1)")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(argv)
    if unknown := set(options.parts) - set(PARTS):
        parser.error(f"no such part: {', '.join(sorted(unknown))}")
    problems = asyncio.run(_run(options.parts or list(PARTS), options.scale, options.seed))
    for problem in problems[:20]:
        print(problem)
    told = {"soak": "hostile", "scale": options.scale, "seed": options.seed, "wrong": len(problems)}
    print(json.dumps(told))
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
