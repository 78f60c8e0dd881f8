"""A host whose place fails it lives on for the clients that it has."""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from rlm_kernel_mcp.front.front import Place
from rlm_kernel_mcp.host.door import Door
from rlm_kernel_mcp.host.identity import Seat
from rlm_kernel_mcp.host.lifetime import Lifetime
from tests.rights import reachable_directory, without_root_rights

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


def removed(directory: Path) -> None:
    shutil.rmtree(directory)


def opened_to_others(directory: Path) -> None:
    directory.chmod(0o755)


class House:
    """A host's seat and door, without anybody."""

    def __init__(self, directory: Path, state: Path) -> None:
        directory.chmod(0o700)
        self.place = Place({"RLM_HOST_DIR": str(directory), "RLM_STATE_DIR": str(state)})
        self.seat = Seat(self.place, os.open(self.place.lock, os.O_RDWR | os.O_CREAT, 0o600))
        self.door = Door(self.seat.take(), self.place, {})


@pytest.mark.parametrize("fails", [removed, opened_to_others])
async def test_a_host_that_cannot_listen_anew_serves_those_whom_it_has(
    short_dir: Path, tmp_path: Path, fails: Callable[[Path], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What cleans /tmp took its socket away, and it cannot make another: its clients are in the middle of steps."""
    directory = short_dir / "host"
    directory.mkdir()
    house = House(directory, tmp_path)
    Path(house.place.socket).unlink()
    fails(directory)
    lives = Lifetime(house.seat, 60, lambda: False)
    monkeypatch.setattr(Seat, "is_locked", True)  # what it does without its lock is another matter
    lives._look_after(house.door)
    assert not house.door.is_open
    assert lives.drains
    lives._step_aside(house.door)
    lives._look_after(house.door)
    assert not house.door.is_open


async def test_a_host_that_somebody_found_as_it_left_serves_them_though_nobody_else_can_find_it(
    short_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    house = House(short_dir, tmp_path)
    lives = Lifetime(house.seat, 60, lambda: False)
    monkeypatch.setattr(Door, "is_idle", False)
    opened_to_others(short_dir)
    assert lives._has_left(house.door) is False
    assert not house.door.is_open
    assert lives.drains
    house.seat.give_up()


async def test_a_host_whose_directory_cannot_be_written_any_more_ends_as_any_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file system that became read-only, or a directory whose mode was changed: its socket and its lock stay."""
    monkeypatch.setattr(Lifetime, "_look_after", lambda *_: None)
    with reachable_directory() as directory:
        house = House(directory, tmp_path)
        directory.chmod(0o555)
        with without_root_rights():
            lives = Lifetime(house.seat, 60, lambda: False)
            lives.stop()
            await lives.over(house.door)
            house.seat.give_up()
        assert not house.door.is_open
        directory.chmod(0o700)
        assert house.place.connect(60) is None
        lock = os.open(house.place.lock, os.O_RDWR)
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)  # whoever comes next has it
        os.close(lock)
