"""Claims, appends, faults, deaths, zombies and races in any order, against a model of what may be read."""

from __future__ import annotations

import asyncio
import errno
import os
import shutil
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from rlm_kernel_mcp.cluster.shared import log as log_module
from rlm_kernel_mcp.cluster.shared.groups import HEAD_BYTES
from rlm_kernel_mcp.cluster.shared.opening import open_store
from rlm_kernel_mcp.cluster.shared.places.folder import Folder
from rlm_kernel_mcp.cluster.shared.protocol import Frame, SharedStore
from rlm_kernel_mcp.errors import SessionMoved, StoreUnavailable

SESSIONS = ("s_one", "s_two")
NODES = 3
LINES = (
    "before_write",
    "written",
    "synced",
    "epoch_checked",
    "claim_linked",
    "claim_sealed",
    "claim_carried",
    "claim_whole",
    "clean_copied",
    "clean_dropped",
)
State = tuple[tuple[str, bytes], ...]
"""What is read of a session, in its order."""

bodies = st.one_of(st.none(), st.binary(max_size=64), st.just(b"x" * 3_000))
frames = st.lists(st.builds(Frame, st.integers(0, 255), st.sampled_from("abcd"), bodies), min_size=1, max_size=4)
sessions = st.sampled_from(SESSIONS)
nodes = st.integers(0, NODES - 1)


def applied(state: State, added: Iterable[Frame]) -> State:
    found = dict(state)
    for frame in added:
        found.pop(frame.key, None)
        if frame.body is not None:
            found[frame.key] = frame.body
    return tuple(found.items())


class Node:
    """A process, as far as the store is concerned: its store object, and whether a line fails next."""

    def __init__(self, root: Path) -> None:
        self.fails_at = ""
        self.interrupted_at: tuple[str, Callable[[], None]] = ("", lambda: None)
        self.store: SharedStore = open_store(str(root), faults=self.fault, within_s=60)
        self.epochs: dict[str, int] = {}

    def fault(self, line: str) -> None:
        awaited, within = self.interrupted_at
        if line == awaited:
            self.interrupted_at = "", within
            within()
        if line == self.fails_at:
            self.fails_at = ""
            raise OSError(errno.EIO, "as told")


class Cluster(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        shm = Path("/dev/shm")
        self.root = Path(tempfile.mkdtemp(dir=shm if os.access(shm, os.W_OK) else None))
        self.slack = log_module.SLACK_BYTES, Folder.segment_bytes
        setattr(log_module, "SLACK_BYTES", 4_000)  # noqa: B010 - so that there is much to clean
        Folder.segment_bytes = 2_000
        self.runner = asyncio.Runner()
        self.nodes = [Node(self.root / "store") for _ in range(NODES)]
        self.gone: list[Node] = []
        self.dead: list[Node] = []
        self.may_be: dict[str, set[State]] = {session: {()} for session in SESSIONS}
        """What may be read: more than one, where an append was neither acknowledged nor refused."""
        self.newest: dict[str, int] = dict.fromkeys(SESSIONS, 0)
        """The highest epoch that was ever asked for."""
        self.had: dict[str, int] = dict.fromkeys(SESSIONS, 0)
        """The highest epoch that was had."""

    def teardown(self) -> None:
        for node in (*self.nodes, *self.gone, *self.dead):
            self.runner.run(node.store.close())
        self.runner.close()
        setattr(log_module, "SLACK_BYTES", self.slack[0])  # noqa: B010 - it is Final to all others
        Folder.segment_bytes = self.slack[1]
        shutil.rmtree(self.root)

    @rule(node=nodes, session=sessions, ahead=st.sampled_from((1, 1, 1, 2, 5)))
    def claim(self, node: int, session: str, ahead: int) -> None:
        one, epoch = self.nodes[node], self.newest[session] + ahead
        self.newest[session] = epoch
        try:
            self.runner.run(one.store.claim(session, epoch, f"n{node}"))
        except StoreUnavailable:
            return
        self.takes(one, session, epoch)

    @rule(node=nodes, session=sessions, epoch=st.integers(1, 6))
    def claim_any(self, node: int, session: str, epoch: int) -> None:
        one = self.nodes[node]
        was_newest, self.newest[session] = self.newest[session], max(self.newest[session], epoch)
        try:
            self.runner.run(one.store.claim(session, epoch, f"n{node}"))
        except (SessionMoved, StoreUnavailable):
            return
        assert epoch >= was_newest
        self.takes(one, session, epoch)

    @rule(
        session=sessions,
        both=st.permutations(range(NODES)),
        line=st.sampled_from([line for line in LINES if line.startswith("claim")]),
        ahead=st.sampled_from((-1, 0, 1)),
        added=frames,
    )
    def claim_within(self, session: str, both: list[int], line: str, ahead: int, added: list[Frame]) -> None:
        """One node claims while another does, at a line of it; and whoever had the session appends in between."""
        outer, inner, third = both
        epoch = self.newest[session] + 2
        epochs = {outer: epoch, inner: epoch + ahead}
        self.newest[session] = max(epochs.values())
        ends: dict[int, BaseException | None] = {}

        async def claim(node: int) -> None:
            (ends[node],) = await asyncio.gather(
                self.nodes[node].store.claim(session, epochs[node], f"n{node}"), return_exceptions=True
            )

        def within() -> None:
            asyncio.run(claim(inner))

        self.nodes[outer].interrupted_at = line, within
        self.runner.run(claim(outer))
        self.nodes[outer].interrupted_at = "", within
        assert all(end is None or isinstance(end, SessionMoved | StoreUnavailable) for end in ends.values()), ends
        had = {epochs[node]: node for node, end in ends.items() if end is None}
        assert len(had) == sum(end is None for end in ends.values())
        for had_epoch, node in sorted(had.items()):
            self.nodes[node].epochs[session] = had_epoch
            self.had[session] = max(self.had[session], had_epoch)
        if had:
            self.append(third, session, added)
            self.looks(self.nodes[had[max(had)]], session, max(had))

    def takes(self, node: Node, session: str, epoch: int) -> None:
        assert epoch >= self.had[session]
        node.epochs[session] = self.had[session] = epoch
        self.looks(node, session, epoch)

    def looks(self, node: Node, session: str, epoch: int) -> None:
        """Everything that was acknowledged is read, in its order, and nothing else."""

        async def read() -> State:
            return tuple([(one.key, one.body) async for one in node.store.read(session, epoch) if one.body is not None])

        found = self.runner.run(read())
        assert found in self.may_be[session]
        self.may_be[session] = {found}

    @rule(node=nodes, session=sessions, added=frames)
    def append(self, node: int, session: str, added: list[Frame]) -> None:
        one = self.nodes[node]
        if (epoch := one.epochs.get(session)) is None:
            return
        after = {applied(state, added) for state in self.may_be[session]}
        try:
            self.runner.run(one.store.append(session, epoch, added))
        except SessionMoved:
            assert epoch < self.newest[session]
            del one.epochs[session]
        except StoreUnavailable:
            self.may_be[session] |= after
        else:
            assert epoch >= self.had[session]
            self.may_be[session] = after

    @rule(node=nodes, both=st.tuples(frames, frames))
    def append_to_both(self, node: int, both: tuple[list[Frame], list[Frame]]) -> None:
        """In one group, or in two."""
        one = self.nodes[node]
        asked = {session: added for session, added in zip(SESSIONS, both, strict=True) if session in one.epochs}

        async def appends() -> list[BaseException | None]:
            calls = (one.store.append(session, one.epochs[session], added) for session, added in asked.items())
            return await asyncio.gather(*calls, return_exceptions=True)

        for (session, added), end in zip(asked.items(), self.runner.run(appends()), strict=True):
            after = {applied(state, added) for state in self.may_be[session]}
            if end is None:
                assert one.epochs[session] >= self.had[session]
                self.may_be[session] = after
            elif isinstance(end, SessionMoved):
                del one.epochs[session]
            else:
                assert isinstance(end, StoreUnavailable)
                self.may_be[session] |= after

    @rule(node=nodes, session=sessions)
    def look(self, node: int, session: str) -> None:
        one = self.nodes[node]
        if (epoch := one.epochs.get(session)) is None:
            return
        try:
            self.runner.run(one.store.append(session, epoch, []))
        except SessionMoved:
            del one.epochs[session]
        except StoreUnavailable:
            return
        else:
            assert epoch >= self.had[session]
            self.looks(one, session, epoch)

    @rule(node=nodes, line=st.sampled_from(LINES))
    def fail_at(self, node: int, line: str) -> None:
        self.nodes[node].fails_at = line

    @rule(node=nodes, bytes_lost=st.one_of(st.just(0), st.integers(1, 400)))
    def die(self, node: int, bytes_lost: int) -> None:
        """Without a word: to wake later, or, with a piece of a group behind its log, for ever."""
        dead, self.nodes[node] = self.nodes[node], Node(self.root / "store")
        if not bytes_lost:
            self.gone.append(dead)
            return
        self.dead.append(dead)
        committer = getattr(dead.store, "_committer", None)
        log = self.root / "store" / "logs" / (committer.log.name if committer else "none")
        if segments := sorted(log.glob("segment-*")):  # else it was swept
            head = segments[-1].read_bytes()[:HEAD_BYTES]
            with segments[-1].open("ab") as file:
                file.write((head + bytes(bytes_lost))[:bytes_lost])

    @precondition(lambda self: self.gone)
    @rule(session=sessions, added=frames)
    def wake(self, session: str, added: list[Frame]) -> None:
        """A node that was taken for dead goes on: it acknowledges only what nobody has taken over."""
        zombie = self.gone[-1]
        self.gone, self.nodes = [*self.gone[:-1], self.nodes[0]], [zombie, *self.nodes[1:]]
        self.append(0, session, added)

    @rule(node=nodes)
    def sweep(self, node: int) -> None:
        try:
            self.runner.run(self.nodes[node].store.sweep())
        except StoreUnavailable:
            return

    @invariant()
    def who_has_it_is_the_newest(self) -> None:
        for session in SESSIONS:
            claim = self.runner.run(self.nodes[0].store.newest(session))
            assert (claim.epoch if claim else 0) >= self.had[session]


Cluster.TestCase.settings = settings(
    max_examples=60,
    stateful_step_count=30,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)
TestCluster = pytest.mark.slow(Cluster.TestCase)
