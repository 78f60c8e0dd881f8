"""`bin/bench [NAME ...]`: runs the parts named, or all of them, and prints one table.

A full run writes bench/RESULTS.md. Close whatever else keeps the machine busy: ratios survive it, figures do not.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import time
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

from bench import report
from bench.bars import (
    aftermath,
    attacks,
    cluster,
    contexts,
    costly,
    data_kernels,
    dense,
    ends,
    exploring,
    exploring_answers,
    hashing,
    host_calls,
    host_functions,
    hosts,
    hosts_steps,
    lasting,
    live_page,
    long_answers,
    many,
    mapped,
    page_moves,
    peers,
    quotes,
    records,
    sessions,
    starts,
    steps,
    subcalls,
    subcalls_agent,
    subcalls_ends,
    subcalls_parked,
    variables,
    watching,
)
from bench.floors import calls as call_floors
from bench.floors import machine, parts
from bench.floors import steps as step_floors
from bench.measure import Amounts, Row
from rlm_kernel_mcp.commands.showing.progress import line

Part = Callable[[Amounts], Awaitable[list[Row]]]

PARTS: dict[str, Part] = {
    "step": steps.step,
    "step-large": steps.step_large,
    "get-var": variables.get_var,
    "init-context": sessions.init_context,
    "init-context-asking": sessions.init_context_asking,
    "burst": sessions.burst,
    "memory": sessions.memory,
    "initialize": starts.initialize,
    "host-start": hosts.host_start,
    "host-cold": hosts.host_cold,
    "host-memory": hosts.host_memory,
    "host-step": hosts_steps.host_step,
    "host-many": hosts_steps.host_many,
    "host-elsewhere": hosts_steps.host_elsewhere,
    "host-death": hosts_steps.host_death,
    "interrupt": ends.interrupt,
    "kill": ends.kill,
    "restore": lasting.restore,
    "memory-flat": lasting.memory_flat,
    "many": many.many,
    "context": contexts.context,
    "hashing": hashing.hashing,
    "mapped": mapped.mapped,
    "mapped-step": mapped.mapped_step,
    "spooled": mapped.spooled,
    "files": contexts.files,
    "search": exploring.search,
    "search-utf8": exploring.search_utf8,
    "search-peers": peers.peers,
    "exploring-answers": exploring_answers.exploring_answers,
    "quotes": quotes.quotes,
    "walls": sessions.walls,
    "attacks": attacks.attacks,
    "attacks-lock": attacks.attacks_lock,
    "costly": costly.costly,
    "aftermath": aftermath.aftermath,
    "step-cpu": steps.step_cpu,
    "step-sdk": steps.step_sdk,
    "step-fresh": steps.step_fresh,
    "step-data": data_kernels.step_data,
    "record-growth": records.record_growth,
    "imports": starts.imports,
    "long-answers": long_answers.long_answers,
    "subcalls-one": subcalls.subcalls_one,
    "subcalls-many": subcalls.subcalls_many,
    "subcalls-endpoint": subcalls.subcalls_endpoint,
    "subcalls-charged": subcalls_ends.subcalls_charged,
    "subcalls-interrupt": subcalls_ends.subcalls_interrupt,
    "subcalls-flood": subcalls_ends.subcalls_flood,
    "subcalls-idle": subcalls_ends.subcalls_idle,
    "subcalls-hostile": subcalls_ends.subcalls_hostile,
    "subcalls-agent": subcalls_agent.subcalls_agent,
    "subcalls-parked": subcalls_parked.subcalls_parked,
    "host-calls": host_calls.host_calls,
    "host-functions": host_functions.host_functions,
    "dense": dense.dense,
    "cluster": cluster.cluster,
    "watch-content": watching.watch_content,
    "watch-step": watching.watch_step,
    "watch-idle": watching.watch_idle,
    "watch-page": live_page.watch_page,
    "watch-moves": page_moves.watch_moves,
}
FLOORS: dict[str, Part] = {
    "floor-machine": machine.machine,
    "floor-step": step_floors.step,
    "floor-many": step_floors.many,
    "floor-parts": parts.parts,
    "floor-calls": call_floors.calls,
}
"""What has no bar: measurements for docs/floors.md, which a run of all parts leaves out."""
GROUPS = {
    "exploring": ["search", "search-utf8", "search-peers", "exploring-answers", "quotes", "initialize", "memory"],
    "floors": [*FLOORS],
    "subcalls": [
        "subcalls-one",
        "subcalls-many",
        "subcalls-endpoint",
        "subcalls-charged",
        "subcalls-interrupt",
        "subcalls-flood",
        "subcalls-idle",
        "subcalls-hostile",
        "subcalls-agent",
        "subcalls-parked",
        "host-calls",
        "host-functions",
        "dense",
    ],
    "watching": ["watch-content", "watch-step", "watch-idle", "watch-page", "watch-moves"],
    "hosts": ["host-start", "host-cold", "host-memory", "host-step", "host-many", "host-elsewhere", "host-death"],
}
"""Parts that have one name together."""
RESULTS = Path(__file__).with_name("RESULTS.md")


async def run(names: Sequence[str], amounts: Amounts) -> list[Row]:
    """Run the parts, one after the other."""
    rows = []
    begun = time.monotonic()
    for done, name in enumerate(names):
        print(f"{line('bench', done, len(names), time.monotonic() - begun)}: {name} ...", file=sys.stderr, flush=True)
        rows += await (PARTS | FLOORS)[name](amounts)
    return rows


def main() -> int:
    """Returns 0 even if bars are missed: that is a finding, not a failure of the run."""
    parser = argparse.ArgumentParser(prog="bin/bench", description=__doc__)
    known = [*PARTS, *FLOORS, *GROUPS]
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"a part: {', '.join(known)} (default: all)")
    parser.add_argument("--smoke", action="store_true", help="once each, small: only to see that the parts work")
    options = parser.parse_args()
    if unknown := [name for name in options.names if name not in known]:
        parser.error(f"there is no part {', '.join(unknown)}; the parts are: {', '.join(known)}")
    names = [part for name in options.names for part in GROUPS.get(name, [name])]
    rows = asyncio.run(run(names or list(PARTS), Amounts(options.smoke)))
    print(f"{report.now()}\n{report.machine()}\n{report.versions()}\n")
    print(report.text_table(rows))
    if not options.names and not options.smoke:
        RESULTS.write_text(report.markdown(rows), encoding="utf-8")
        print(f"\nwritten: bench/{RESULTS.name}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
