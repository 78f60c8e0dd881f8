"""Compares our host's kernel with a foreign client's in every tier, as every user, in every place, again and again.

`bin/soak one_kernel --count 3`. Is: `tests/kernel/clients/test_one_kernel_for_both.py` in full. Prints each difference,
and at the end one line of JSON.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence

from bench.progress import told
from tests.escape.walls.cages import kinds
from tests.kernel.clients.test_one_kernel_for_both import PLACES, differences


def main(argv: Sequence[str]) -> int:
    """Exit status 0: there is no difference."""
    parser = argparse.ArgumentParser(prog="bin/soak one_kernel", description=__doc__)
    parser.add_argument("--count", type=int, default=1, help="rounds over everything (default: 1)")
    parser.add_argument("--seed", type=int, default=0, help="no chance is in it: taken, as by every soak, and not used")
    options = parser.parse_args(argv)
    compared, found = 0, 0
    for _ in told(range(options.count), options.count, "rounds"):
        for kind in kinds():
            different = differences(kind, PLACES)
            compared, found = compared + len(PLACES), found + len(different)
            for line in different:
                print(f"{kind.tier}, {kind.user}: {line}", flush=True)
    print(json.dumps({"soak": "one_kernel", "compared": compared, "differences": found}))
    return int(found > 0)
