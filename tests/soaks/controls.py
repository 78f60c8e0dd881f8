"""Each attack of an older tree on that tree and on this one: that the harm is seen there shows that it would be here.

Is: the table of `tests/soaks/_attacks.py`, each attack in each tier, played over stdio by the same client against the
server of this checkout and of `--old DIRECTORY`: a checkout with a `.venv` of its own. For each what was seen, whether
that is the harm, and how long a neighbour waited for a read meanwhile. Is not: a bar (`bench/`), nor the tests of these
attacks, which the table names.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from bench.progress import told
from bench.report import machine, now
from tests.parts import ROOT
from tests.soaks._attacks import ATTACKS, Attack
from tests.soaks._sides import Seen, Side, revision

READ_MS: Final = 100.0


def play(attack: Attack, side: Side) -> Seen:
    """One attack on one side; that the client gave up waiting is a finding too."""
    try:
        return attack.play(side)
    except (AssertionError, OSError, KeyError) as error:
        return Seen(harm=True, text=f"{type(error).__name__}: {str(error).partition(chr(10))[0][:120]}")


def line(side: Side, seen: Seen) -> str:
    """What was seen on one side."""
    waits = (
        f"; a neighbour's read: {seen.read_ms:,.1f} ms at most, {seen.starved_ms:,.1f} of it without a processor, "
        f"of {seen.reads} (calm: {seen.calm_ms:,.1f})"
        if seen.reads
        else ""
    )
    return f"    {side.name:3}  {'HARM' if seen.harm else 'held'}: {seen.text}{waits}"


def run(sides: Sequence[Side], attacks: Sequence[Attack]) -> dict[str, Any]:
    """Plays and prints; returns the counts."""
    counts = {"attacks": 0, "harm in old": 0, "harm now": 0, "slow reads now": 0}
    for attack in attacks:
        for tier in attack.tiers:
            print(f"row {attack.row}, {tier}: {attack.what}", flush=True)
            print(f"    test: {attack.test}\n    control: {attack.control}\n    bar: {attack.bar}", flush=True)
            counts["attacks"] += 1
            for side in sides:
                seen = play(attack, side.in_tier(tier))
                print(line(side, seen), flush=True)
                counts["harm in old" if side.old else "harm now"] += seen.harm
                counts["slow reads now"] += not side.old and seen.read_ms - seen.starved_ms > READ_MS
    return counts


def main(argv: Sequence[str]) -> int:
    """`bin/soak controls`."""
    parser = argparse.ArgumentParser(
        prog="bin/soak controls", description=__doc__.partition("\n")[0] if __doc__ else None
    )
    parser.add_argument("--old", type=Path, help="a checkout to compare with (default: this tree alone)")
    parser.add_argument("--row", action="append", type=int, help="of section 5; may be given again (default: all)")
    parser.add_argument("--tier", action="append", choices=["ns", "lock"], help="likewise")
    parser.add_argument("--count", type=int, default=1, help="rounds (default: 1)")
    parser.add_argument("--seed", type=int, default=0, help="no chance is in it: taken, as by every soak, and not used")
    options = parser.parse_args(argv)
    sides = [Side("new", ROOT, old=False)]
    if options.old:
        sides.insert(0, Side("old", options.old.resolve(), old=True))
    print(f"{now()}, {machine()}\n" + "".join(f"{side.name}: {revision(side.root)}\n" for side in sides))
    attacks = [attack.only(options.tier) for attack in ATTACKS if options.row is None or attack.row in options.row]
    began, total = time.monotonic(), dict[str, int]()
    for _ in told(range(options.count), options.count, "rounds"):
        found = run(sides, attacks)
        total = {name: total.get(name, 0) + count for name, count in found.items()}
    print(json.dumps({"soak": "controls", "s": round(time.monotonic() - began), **total}))
    return int(total["harm now"] + total["slow reads now"] > 0 or not total["attacks"])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
