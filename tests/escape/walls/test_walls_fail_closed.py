"""A machine that cannot raise a wall: refused where the policy requires it, reported where it wants it."""

from __future__ import annotations

from typing import Any

import pytest

from rlm_kernel_mcp.in_kernel.walls.plan import WALLS
from tests.escape.canaries import Canaries
from tests.escape.walls.cages import LIMITS, MAPPED_MAX_GB, Kind, kinds, run

KINDS = kinds()
# The system call without which a wall cannot be raised.
LACKING = {
    "landlock": "landlock_create_ruleset",
    "seccomp": "seccomp",
    "capabilities": "capset",
    "namespaces": "unshare",
    "scratch_quota": "unshare",
}
PROBE = "honest.know_the_time_in_berlin"


def ids(kind: Kind) -> str:
    return f"{kind.tier}-{kind.user}"


def policy(*required: str) -> dict[str, Any]:
    """Everything wanted, some of it required."""
    return {
        "imports": {"mode": "allowlist"},
        "limits": LIMITS,
        "context": {"mapped_max_gb": MAPPED_MAX_GB},
        "walls": {"required": list(required), "wanted": [name for name in WALLS if name not in required]},
    }


@pytest.mark.parametrize("kind", KINDS[-2:], ids=ids)
@pytest.mark.parametrize("wall", LACKING)
def test_a_required_wall_that_cannot_be_had_refuses_the_kernel(kind: Kind, wall: str) -> None:
    """No line of user code runs."""
    with Canaries(kind.uid) as canaries:
        ended = run(kind, canaries, [PROBE], policy=policy(wall), hidden_calls=[LACKING[wall]])
    assert (ended.failed[0], ended.outcomes, ended.code) == (wall, {}, 3)
    assert len(ended.failed[1]) > 10


@pytest.mark.parametrize("kind", KINDS[-2:], ids=ids)
@pytest.mark.parametrize("wall", LACKING)
def test_a_wanted_wall_that_cannot_be_had_is_a_row_and_the_others_stand(kind: Kind, wall: str) -> None:
    """With the reason and the remedy."""
    with Canaries(kind.uid) as canaries:
        ended = run(kind, canaries, [PROBE], policy=policy(), hidden_calls=[LACKING[wall]])
    assert (ended.outcomes[PROBE][0], ended.code) == ("done", 0)
    assert not ended.walls[wall]["holds"]
    assert len(ended.walls[wall]["detail"]) > 10
    assert len(ended.walls[wall]["remedy"]) > 10
    fallen = {name for name, row in ended.walls.items() if not row["holds"]}
    assert fallen <= {wall, "namespaces", "scratch_quota"}
    has_window = "mapped to be read" in ended.walls["rlimits"]["detail"]
    assert has_window is (wall not in ("landlock", "seccomp")), "a window is one by what stands around it"


@pytest.mark.parametrize("kind", KINDS, ids=ids)
def test_a_process_with_threads_is_refused(kind: Kind) -> None:
    """Landlock would bind one thread only, and a fork would carry the others along broken."""
    with Canaries(kind.uid) as canaries:
        ended = run(kind, canaries, [PROBE], early_thread=True)
    assert "more than one thread" in ended.failed[1]
    assert ended.code == 3


def test_a_wall_that_the_policy_does_not_name_is_not_raised() -> None:
    """A policy for a machine that is itself thrown away."""
    nothing = policy() | {"walls": {"required": [], "wanted": []}}
    with Canaries(KINDS[-1].uid) as canaries:
        ended = run(KINDS[-1], canaries, [PROBE], policy=nothing)
    assert [row["detail"] for row in ended.walls.values() if row["holds"]] == []
    assert ended.walls["seccomp"]["detail"] == "the policy does not ask for it"
