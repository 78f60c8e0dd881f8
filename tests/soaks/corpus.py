"""The corpus of hostile steps as each user, in each import policy and tier; where one user's cases end otherwise.

Is: every case of `tests/escape/corpus` in real sessions of a server of root's and of one of another user's, judged as
in `tests/escape/test_corpus.py`, and compared case by case. Is not: the suite's own run of it, which is the user's who
runs the suite.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from tempfile import TemporaryDirectory
from typing import Any, Final

from bench.progress import told
from tests.escape.answered import answered
from tests.escape.attack_server import AttackServer, Seen
from tests.escape.canaries import PROGRAM, users
from tests.escape.cases import ASKING, Case, read_corpus
from tests.escape.container.runtimes import in_containers
from tests.escape.verdicts import end_of, status_of, tried
from tests.escape.walls.cages import Kind
from tests.kernel.clients.test_one_kernel_for_both import as_user
from tests.mcp.line_client import SERVE
from tests.rights import place_of_server

CONTAINER: Final = "container"
"""A tier that is tried where it is asked for: podman starts each kernel, for the user who runs the soak."""
TIERS: Final = {"ns": SERVE, "lock": (sys.executable, "-I", str(PROGRAM / "serve_without_namespaces.py"), "serve")}

POLICIES: Final = ("allowlist", "any")


@contextlib.contextmanager
def attack_server(user: str, tier: str, policy: str, *, is_asking: bool = False) -> Iterator[AttackServer]:
    """A server of that user's, and what is around it, an endpoint where it `is_asking`; what it leaves behind fails."""
    uid = users()[user]
    with contextlib.ExitStack() as ends:
        settings, unseen = ends.enter_context(answered()) if is_asking else ({}, list)
        if tier == CONTAINER:
            settings |= in_containers("podman", ends.enter_context(TemporaryDirectory(prefix="rlm-c-")))
        work = ends.enter_context(place_of_server(uid, "rlm-corpus-"))
        argv = TIERS.get(tier, SERVE)
        made_server = AttackServer(work, policy, [*as_user(Kind(tier, user, uid)), *argv], uid, **settings)
        made_server.unseen = unseen
        assert made_server.server.uids().real == (os.getuid() if uid is None else uid)
        fallen = {name for name, holds in made_server.walls.items() if not holds}
        assert fallen == ({"namespaces", "scratch_quota"} if tier == "lock" else set()), fallen
        yield made_server
        left = made_server.close()
        assert left == [], left


def short(seen: Seen) -> str:
    """What a case did, without what is another each time: how its steps ended, and where the last of them did."""
    return "; ".join(dict.fromkeys([*map(status_of, seen.answers), end_of(seen)]))


def by_case(user: str, tier: str, policy: str, cases: Sequence[Case]) -> dict[str, tuple[str, list[str]]]:
    """By case: what it did, and what speaks against it. Those about questions have an endpoint to ask."""
    found = {}
    for is_asking in (False, True):
        some = [case for case in cases if (case.category == ASKING) is is_asking]
        with attack_server(user, tier, policy, is_asking=is_asking) if some else contextlib.nullcontext() as made:
            for case in some:
                assert made is not None
                seen, against = tried(made, case)
                found[case.name] = (short(seen), against)
    return found


def run(
    wanted: Sequence[str], tiers: Sequence[str], policies: Sequence[str], cases: Sequence[Case], *, whole: bool
) -> dict[str, Any]:
    """Prints counts, each case that fails and each difference; `whole`: every case."""
    played = failed = differences = 0
    for tier in tiers:
        for policy in policies:
            began = time.monotonic()
            those = [user for user in wanted if tier != CONTAINER or users()[user] is None]
            by_user = {user: by_case(user, tier, policy, cases) for user in those}
            for user, found in by_user.items():
                against = {name: texts for name, (_, texts) in found.items() if texts}
                ends = Counter(did.partition(";")[0] for did, _ in found.values())
                counts = ", ".join(f"{count} {what}" for what, count in ends.most_common())
                print(f"{user}, {tier}, {policy}: {len(found)} cases, {len(against)} fail; they end: {counts}")
                print("".join(f"  FAILS {name}: {'; '.join(texts)}\n" for name, texts in against.items()), end="")
                played, failed = played + len(found), failed + len(against)
            for case in cases:
                did = {user: found[case.name][0] for user, found in by_user.items()}
                if whole or len(set(did.values())) > 1:
                    print(f"  {case.name}: " + " | ".join(f"{user}: {text}" for user, text in did.items()))
                differences += len(set(did.values())) > 1
            print(f"  ({time.monotonic() - began:.0f} s)", flush=True)
    return {"played": played, "failed": failed, "other with another user": differences}


def main(argv: Sequence[str]) -> int:
    """`bin/soak corpus`."""
    parser = argparse.ArgumentParser(
        prog="bin/soak corpus", description=__doc__.partition("\n")[0] if __doc__ else None
    )
    parser.add_argument("--user", action="append", choices=users(), help="may be given twice (default: all there are)")
    parser.add_argument(
        "--tier", action="append", choices=[*TIERS, CONTAINER], help="likewise; container: if asked for"
    )
    parser.add_argument("--policy", action="append", choices=POLICIES, help="likewise")
    parser.add_argument("--category", action="append", help="of the corpus, likewise")
    parser.add_argument("--every-case", action="store_true", help="print each case, and not the differences alone")
    parser.add_argument("--count", type=int, default=1, help="rounds (default: 1)")
    parser.add_argument("--seed", type=int, default=0, help="no chance is in it: taken, as by every soak, and not used")
    options = parser.parse_args(argv)
    everything = [*read_corpus(), *read_corpus(asking=True)]
    cases = [case for case in everything if not options.category or case.category in options.category]
    total: Counter[str] = Counter()
    for _ in told(range(options.count), options.count, "rounds"):
        total.update(
            run(
                options.user or [*users()],
                options.tier or [*TIERS],
                options.policy or POLICIES,
                cases,
                whole=options.every_case,
            )
        )
    print(json.dumps({"soak": "corpus", **total}))
    return int(total["failed"] > 0 or not total["played"])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
