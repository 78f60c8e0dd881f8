"""What is bounded stays bounded, and the kernel lives on; nothing is left outside."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest

from tests.escape.canaries import Canaries
from tests.escape.walls.cages import LIMITS, MAPPED_MAX_GB, Ended, Kind, kinds, names, policy, run

KINDS = kinds()
QUOTA_KINDS = [kind for kind in KINDS if kind.tier == "ns"]
MB = 1 << 20
GB = 1 << 30
GAP_MB = 128
MOST_MB = LIMITS["memory_mb"] + GAP_MB


def number(kind: Kind, attack: str, **limits: int) -> int:
    """What an attack that goes on until it is stopped got to; the kernel came to its end by itself."""
    with Canaries(kind.uid) as canaries:
        ended = run(kind, canaries, [attack], policy=policy(kind.tier, **limits))
        outside = [path for directory in canaries.root.glob("w-*") for path in directory.iterdir()]
    assert ended.code == 0
    assert outside == []
    what, text = ended.outcomes[attack]
    assert what == "done", text
    return int(text.strip("'"))


def ids(kind: Kind) -> str:
    return f"{kind.tier}-{kind.user}"


@pytest.mark.parametrize("kind", KINDS, ids=ids)
def test_memory_ends_in_a_memory_error_and_the_kernel_goes_on(kind: Kind) -> None:
    """At the soft limit; the gap to the hard one is room to report it with everything still held."""
    taken_mb = number(kind, "attacks_resources.fill_memory_then_go_on")
    assert LIMITS["memory_mb"] * 0.7 < taken_mb <= LIMITS["memory_mb"]


@pytest.mark.parametrize("kind", KINDS, ids=ids)
def test_shared_mappings_count_as_memory(kind: Kind) -> None:
    """Outside a step, so up to the hard limit."""
    assert number(kind, "attacks_resources.fill_shared_memory") <= LIMITS["memory_mb"] + GAP_MB


@pytest.mark.parametrize(
    ("kind", "libraries"),
    [
        *(pytest.param(kind, "allowlist", marks=pytest.mark.slow) for kind in KINDS),
        pytest.param(KINDS[0], "any", marks=pytest.mark.slow),
        (KINDS[-1], "any"),
    ],
    ids=lambda value: value if isinstance(value, str) else ids(value),
)
def test_every_kind_of_memory_counts_as_memory(kind: Kind, libraries: str) -> None:
    """By its addresses, whatever else would count it; the window for files is no room for any of it."""
    attacks = names("attacks_memory")
    had = {}
    for attack in attacks:  # each in a cage of its own, since what it took it keeps
        with Canaries(kind.uid) as canaries:
            changes = policy(kind.tier) | {"imports": {"mode": libraries}}
            ended = run(kind, canaries, [attack], policy=changes)
        had[attack] = ended.outcomes[attack]
    over = {attack: outcome for attack, outcome in had.items() if int(outcome[1].strip("'")) > MOST_MB}
    assert over == {}
    assert had["attacks_memory.map_private"] == had["attacks_memory.map_shared"]
    assert int(had["attacks_memory.map_private"][1].strip("'")) > LIMITS["memory_mb"]


@pytest.mark.parametrize("kind", KINDS, ids=ids)
def test_descriptors_end(kind: Kind) -> None:
    """Those that the kernel has already count."""
    assert number(kind, "attacks_resources.open_descriptors_without_end") < LIMITS["open_files"]


@pytest.mark.parametrize("kind", KINDS, ids=ids)
def test_threads_end(kind: Kind) -> None:
    """By their count in a user namespace of an ordinary user, else by the address space of their stacks."""
    stacks_in_memory = (LIMITS["memory_mb"] + GAP_MB) // 8 + 1
    most = LIMITS["threads"] if kind.tier == "ns" and kind.uid != 0 else stacks_in_memory
    assert 8 <= number(kind, "attacks_resources.start_threads_without_end") <= max(most, stacks_in_memory)


@pytest.mark.parametrize("kind", KINDS, ids=ids)
@pytest.mark.parametrize(
    "attack",
    [
        pytest.param("start_threads_without_end", marks=pytest.mark.slow),
        pytest.param("start_threads_with_small_stacks", marks=pytest.mark.slow),
        "clone_threads_with_tiny_stacks",
    ],
)
def test_threads_are_counted_where_memory_would_allow_more(kind: Kind, attack: str) -> None:
    """By a user that is this kernel's alone, in or outside of a namespace, or by the numbers of its namespace."""
    assert 8 <= number(kind, f"attacks_resources.{attack}", memory_mb=4096) < LIMITS["threads"]


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind.tier == "lock"], ids=ids)
def test_the_attack_on_the_number_of_threads_would_be_seen(kind: Kind) -> None:
    """The control: where the system bounds nothing and no host watches, a thousand are made; and the row says so."""
    attack = "attacks_resources.clone_threads_with_tiny_stacks"
    with Canaries(kind.uid) as canaries:
        changes = {"policy": policy("lock", memory_mb=4096), "hidden_calls": ["unshare", "setresuid"]}
        ended = run(kind, canaries, [attack], **changes)
    assert ended.outcomes[attack] == ("done", repr("1000"))
    assert "counted by the host" in ended.walls["rlimits"]["detail"]


@pytest.mark.parametrize("kind", QUOTA_KINDS, ids=ids)
@pytest.mark.parametrize("attack", ["write_one_large_file", "write_many_large_files"])
def test_the_scratch_folders_bytes_end_over_all_files(kind: Kind, attack: str) -> None:
    """One file ends at its own limit, many at the tmpfs's size."""
    written = number(kind, f"attacks_resources.{attack}")
    assert 0.9 * LIMITS["scratch_mb"] * MB <= written <= LIMITS["scratch_mb"] * MB


@pytest.mark.parametrize("kind", QUOTA_KINDS, ids=ids)
def test_the_scratch_folders_files_end(kind: Kind) -> None:
    """Empty ones too."""
    made = number(kind, "attacks_resources.write_many_small_files")
    assert 0.9 * LIMITS["scratch_files"] <= made <= LIMITS["scratch_files"]


@pytest.mark.parametrize("kind", QUOTA_KINDS, ids=ids)
@pytest.mark.parametrize(("scratch_files", "expected"), [(256, 254), pytest.param(4096, 3000, marks=pytest.mark.slow)])
def test_folders_nested_3000_deep_count_as_files_and_leave_nothing_outside(
    kind: Kind, scratch_files: int, expected: int
) -> None:
    """They vanish with the tmpfs: nobody has to remove them, which takes a descriptor a level."""
    made = number(kind, "attacks_resources.nest_directories_deeply", scratch_files=scratch_files)
    assert abs(made - expected) <= 2


@pytest.mark.parametrize("kind", QUOTA_KINDS, ids=ids)
def test_a_sparse_file_has_its_limit_as_well(kind: Kind) -> None:
    """A file's size is bounded, not only what it occupies."""
    with Canaries(kind.uid) as canaries:
        ended = run(kind, canaries, ["attacks_resources.make_a_sparse_file"])
    assert ended.outcomes["attacks_resources.make_a_sparse_file"] == ("refused", "EFBIG")


HARD_LIMITS: dict[str, Callable[[int], bool]] = {
    "NOFILE": lambda value: value == LIMITS["open_files"],
    "FSIZE": lambda value: value == LIMITS["scratch_mb"] * MB,
    "CORE": lambda value: value == 0,
    "MEMLOCK": lambda value: value == 0,
    "MSGQUEUE": lambda value: value == 0,
    "RTPRIO": lambda value: value == 0,
    "STACK": lambda value: value == 8 * MB,
    "AS": lambda value: MOST_MB * MB < value - MAPPED_MAX_GB * GB < (MOST_MB + 512) * MB,
}


@pytest.fixture(scope="module", params=KINDS, ids=ids)
def quiet(request: pytest.FixtureRequest) -> Ended:
    """A cage in which nothing was tried."""
    with Canaries(request.param.uid) as canaries:
        return run(request.param, canaries, ["honest.know_its_own_limits"])


@pytest.mark.parametrize("limit", HARD_LIMITS)
def test_a_hard_limit_is_the_policys(quiet: Ended, limit: str) -> None:
    """Hard: what cannot be raised again."""
    found = json.loads(quiet.outcomes["honest.know_its_own_limits"][1].strip("'"))
    assert HARD_LIMITS[limit](found[limit]), found[limit]
