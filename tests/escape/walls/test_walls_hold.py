"""Attacks from inside the walls, in every tier and as every user; the targets are looked at from outside."""

from __future__ import annotations

import platform
import signal
from collections.abc import Iterator

import pytest

from tests.escape.canaries import Canaries
from tests.escape.walls.cages import Ended, Kind, kinds, names, policy, run

ATTACKS = [
    *names("attacks_files"),
    *names("attacks_network"),
    *names("attacks_processes"),
    *names("attacks_window"),
    *[name for name in names("attacks_surface") if name != "attacks_surface.call_as_a_32_bit_program"],
]
KINDS = kinds()
IDS = [f"{kind.tier}-{kind.user}" for kind in KINDS]
NOT_HERE = {"honest.write_and_read_scratch", "honest.wait_for_a_line", "honest.close_its_output_and_wait"}
# What must reach a canary when nothing is raised: an attack that never fires tests nothing. Harmless to the machine.
FIRES = {
    "attacks_files.read_the_canary": "token",
    "attacks_files.change_the_canarys_times_by_path": "directory",
    "attacks_network.connect_by_tcp": "tcp",
    "attacks_network.connect_by_tcp_over_ipv6": "tcp6",
    "attacks_network.send_by_udp": "udp",
    "attacks_network.connect_to_a_path": "stream",
    "attacks_network.re_aim_a_datagram_pair": "datagram",
    "attacks_network.connect_to_an_abstract_name": "abstract",
    "attacks_processes.signal_the_peer_by_a_descriptors_owner": "peer",
}
# What succeeds when nothing is raised, and leaves no sign that could be looked for.
WORKS_WITHOUT_WALLS = [
    "attacks_files.lock_a_shared_file",
    "attacks_files.lock_a_shared_file_for_reading",
    "attacks_files.lock_the_bytes_of_a_shared_file",
    "attacks_files.be_told_of_what_changes_in_a_shared_directory",
    "attacks_files.drop_what_is_cached_of_a_shared_file",
    "attacks_files.put_out_the_pages_of_a_shared_file",
    "attacks_processes.ask_for_the_peers_group",
    "attacks_processes.ask_for_the_peers_session",
    "attacks_processes.ask_for_the_peers_processors",
    "attacks_processes.read_the_peers_processor_time",
    "attacks_processes.ask_whether_the_peer_has_a_clock",
    "attacks_processes.sleep_by_the_peers_processor_time",
    "attacks_processes.ask_whether_the_peer_holds_a_lock",
    "attacks_processes.lower_its_limit_of_descriptors",
]


@pytest.fixture(scope="module", params=KINDS, ids=IDS)
def attacked(request: pytest.FixtureRequest) -> Iterator[tuple[Kind, Ended, list[str]]]:
    """A cage in which every attack was tried once, and what was hit outside."""
    kind: Kind = request.param
    with Canaries(kind.uid) as canaries:
        ended = run(kind, canaries, ["honest.write_and_read_scratch", *ATTACKS])
        yield kind, ended, canaries.hits(ended.said)


def test_nothing_outside_was_reached(attacked: tuple[Kind, Ended, list[str]]) -> None:
    """No connection, no datagram, no change of the directory, no signal to the peer, no token in what came out."""
    _, ended, hits = attacked
    assert hits == []
    assert ended.code == 0


@pytest.mark.parametrize("attack", ATTACKS)
def test_the_attack_is_refused(attacked: tuple[Kind, Ended, list[str]], attack: str) -> None:
    """By the operating system, with an error that the program sees."""
    what, text = attacked[1].outcomes[attack]
    assert what == "refused", text


@pytest.mark.parametrize("kind", KINDS, ids=IDS)
def test_where_any_module_may_be_imported_the_window_is_as_closed(kind: Kind) -> None:
    """There mmap(2) has another body in the filter."""
    with Canaries(kind.uid) as canaries:
        policy_of_any = policy(kind.tier) | {"imports": {"mode": "any"}}
        ended = run(kind, canaries, names("attacks_window"), policy=policy_of_any)
    assert {name: outcome for name, outcome in ended.outcomes.items() if outcome[0] != "refused"} == {}
    assert set(ended.outcomes) == set(names("attacks_window"))


def test_every_wall_of_the_tier_stands(attacked: tuple[Kind, Ended, list[str]]) -> None:
    """The rows are what the host is told."""
    kind, ended, _ = attacked
    missing = {"namespaces", "scratch_quota"} if kind.tier == "lock" else set()
    assert {name for name, row in ended.walls.items() if not row["holds"]} == missing
    assert all(bool(row["remedy"]) != row["holds"] for row in ended.walls.values())
    assert ended.scratch_writable is (kind.tier == "ns")


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind.tier == "lock"], ids=lambda kind: kind.user)
def test_without_walls_the_attacks_reach_the_canaries(kind: Kind) -> None:
    """The control: the same program, walls down, hits each kind of canary."""
    control = Kind("none", kind.user, kind.uid)
    with Canaries(kind.uid) as canaries:
        ended = run(control, canaries, [*FIRES, *WORKS_WITHOUT_WALLS])
        assert {name: outcome for name, outcome in ended.outcomes.items() if outcome[0] != "done"} == {}
        hits = " ".join(canaries.hits(ended.said))
    assert [part for part in FIRES.values() if part not in hits] == []


if platform.machine() == "x86_64":

    @pytest.mark.parametrize("kind", KINDS, ids=IDS)
    def test_a_call_of_the_32_bit_kind_ends_the_kernel(kind: Kind) -> None:
        """Its numbers mean other calls, so nothing of it is let through; the monitor ends by the same signal."""
        with Canaries(kind.uid) as canaries:
            ended = run(kind, canaries, ["attacks_surface.call_as_a_32_bit_program"])
        assert ended.outcomes == {}
        assert ended.code in (-signal.SIGSYS, -signal.SIGSEGV)


@pytest.mark.parametrize("kind", KINDS, ids=IDS)
def test_honest_code_works(kind: Kind) -> None:
    """Threads, an event loop, the library, time zones, interrupts, descriptors received; scratch with its quota."""
    writes = ["honest.write_and_read_scratch"] if kind.tier == "ns" else []
    honest = [name for name in names("honest") if name not in NOT_HERE]
    with Canaries(kind.uid) as canaries:
        ended = run(kind, canaries, [*honest, *writes])
    assert {name: outcome for name, outcome in ended.outcomes.items() if outcome[0] != "done"} == {}
    assert set(ended.outcomes) == {*honest, *writes}
    assert ended.outcomes["honest.interrupt_itself"][1] == "'interrupted'"


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind.tier == "lock"], ids=lambda kind: kind.user)
def test_where_no_quota_can_be_enforced_the_scratch_folder_is_read_only(kind: Kind) -> None:
    """And the row says so."""
    with Canaries(kind.uid) as canaries:
        ended = run(kind, canaries, ["honest.write_and_read_scratch", "attacks_resources.make_a_sparse_file"])
    assert ended.outcomes == dict.fromkeys(ended.outcomes, ("refused", "EACCES"))
    assert "read-only" in ended.walls["scratch_quota"]["detail"]


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind.tier == "ns"], ids=lambda kind: kind.user)
def test_a_scratch_folder_of_no_bytes_is_read_only_too(kind: Kind) -> None:
    """Zero bytes are a quota that holds; a tmpfs of size 0 would have none."""
    with Canaries(kind.uid) as canaries:
        ended = run(kind, canaries, ["honest.write_and_read_scratch"], policy=policy("ns", scratch_mb=0))
    assert ended.outcomes["honest.write_and_read_scratch"][0] == "refused"
    assert ended.walls["scratch_quota"]["holds"]
