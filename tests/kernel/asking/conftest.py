"""A session whose questions a test answers."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

import pytest

from rlm_kernel_mcp.doors.registry_calls import RegistryCalls
from rlm_kernel_mcp.session.asking.answers import Switchboard
from rlm_kernel_mcp.session.registry import Registry
from tests.kernel.asking.scripted import ScriptedAnswers, ScriptedBoard
from tests.sessions import SessionDriver, end_session, lent, open_workers_registry


@dataclass
class Pair:
    """A session, and who answers it."""

    session: SessionDriver
    answers: ScriptedAnswers


class Here(RegistryCalls):
    """`Door` to a registry that lives on."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry

    async def registry(self, session_id: str | None = None) -> Registry:
        del session_id
        return self._registry

    async def open(self) -> None:
        """It is."""

    async def close(self) -> None:
        """It stays."""


@contextmanager
def answered_by(registry: Registry, board: Switchboard | None) -> Iterator[None]:
    """Sessions that are opened meanwhile have their questions answered here; None: nobody answers them."""
    handles = registry.handles
    before = handles._shared
    handles._shared = replace(before, switchboard=board)
    try:
        yield
    finally:
        handles._shared = before


@pytest.fixture(scope="session")
async def workers_asking_registry(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Registry]:
    """A slow machine costs none of its kernels."""
    policy = {"interrupt_grace_ms": 60_000}
    async with open_workers_registry(tmp_path_factory.mktemp("state"), policy=policy) as opened:
        yield opened


@pytest.fixture(scope="module")
async def asking_registry(workers_asking_registry: Registry) -> AsyncIterator[Registry]:
    """The same; no session of a module outlives it."""
    async with lent(workers_asking_registry) as mine:
        yield mine


@pytest.fixture
async def pair(asking_registry: Registry) -> AsyncIterator[Pair]:
    """A session of the test's own, with who answers it."""
    board = ScriptedBoard()
    with answered_by(asking_registry, board):
        session = await SessionDriver.open(asking_registry, "alpha\nbeta\ngamma\n")
    yield Pair(session, board.of[session.session_id])
    await end_session(session)
