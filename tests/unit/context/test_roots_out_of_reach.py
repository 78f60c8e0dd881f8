"""Roots that cannot be reached: unmounted, mounted over, dead, or not there from the beginning."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from rlm_kernel_mcp.context.roots import directory, open_roots
from rlm_kernel_mcp.context.roots.open_roots import Roots
from rlm_kernel_mcp.context.roots.opening import allowed_now
from rlm_kernel_mcp.errors import ContextDenied

DEAD = [errno.ENOTCONN, errno.ESTALE, errno.EIO, errno.EACCES]
OF_THE_PROCESS = [errno.EMFILE, errno.ENFILE, errno.ENOMEM]


def failing(number: int) -> OSError:
    return OSError(number, os.strerror(number))


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A directory beside another one."""
    (tmp_path / "other").mkdir()
    (tmp_path / "root").mkdir()
    return tmp_path / "root"


@pytest.fixture
def roots(root: Path) -> Iterator[Roots]:
    """Both, open."""
    made = Roots.of(root, root.with_name("other"))
    yield made
    made.close()


def recorded(roots: Roots) -> Roots:
    """As another server has them."""
    paths, kept = json.loads(json.dumps([roots.paths, roots.kept]))
    again = Roots.of_record(paths, kept)
    assert again is not None
    return again


@pytest.mark.parametrize("name", ["/", "{other}", "(unreachable)/root", "/nowhere"])
def test_a_root_is_lost_whose_name_leads_elsewhere(
    root: Path, roots: Roots, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A root that was unmounted lazily is called `/`, and one that is mounted over as what is there now."""
    other = str(root.with_name("other"))
    real = directory.path_of
    told = name.format(other=other)
    monkeypatch.setattr(open_roots, "path_of", lambda one: told if real(one) == str(root) else real(one))
    with allowed_now(roots) as allowed:
        assert (allowed.paths, allowed.lost) == ((other,), (str(root),))
        assert not allowed.has("/etc")
        with allowed.directory("/etc") as outside:
            assert outside is None


def test_a_root_that_is_renamed_while_it_is_looked_at_is_not_lost(
    root: Path, roots: Roots, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its name is asked for again."""
    real, was = directory.path_of, root.with_name("was")

    def renamed(descriptor: int) -> str:
        path = real(descriptor)
        if path == str(root):
            root.rename(was)
        return path

    monkeypatch.setattr(open_roots, "path_of", renamed)
    with allowed_now(roots) as allowed:
        assert (set(allowed.paths), allowed.lost) == ({str(was), str(root.with_name("other"))}, ())


@pytest.mark.parametrize("number", DEAD)
def test_a_dead_root_is_lost_and_the_others_stay(
    root: Path, roots: Roots, number: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A network file system that is gone does not take every other directory with it."""
    real = os.fstat

    def dead(descriptor: int) -> os.stat_result:
        if directory.path_of(descriptor) == str(root):
            raise failing(number)
        return real(descriptor)

    monkeypatch.setattr(os, "fstat", dead)
    with allowed_now(roots) as allowed:
        assert (allowed.paths, allowed.lost) == ((str(root.with_name("other")),), (str(root),))


@pytest.mark.parametrize("number", DEAD)
def test_a_recorded_root_that_is_dead_is_lost_and_the_others_stay(
    root: Path, roots: Roots, number: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is opened by its path, which fails."""
    real = directory.walked

    def dead(start: int | None, names: list[str]) -> int:
        if "root" in names:
            raise failing(number)
        return real(start, names)

    monkeypatch.setattr(directory, "walked", dead)
    with allowed_now(recorded(roots)) as allowed:
        assert (allowed.paths, allowed.lost) == ((str(root.with_name("other")),), (str(root),))


@pytest.mark.parametrize("number", OF_THE_PROCESS)
def test_a_process_without_descriptors_takes_no_root_for_lost(
    roots: Roots, number: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The error names what is the matter, and nothing stays open."""

    def full(*_: object, **__: object) -> int:
        raise failing(number)

    for one, name in ((roots, "dup"), (recorded(roots), "open")):
        with monkeypatch.context() as patched:
            patched.setattr(os, name, full)
            with pytest.raises(ContextDenied, match=os.strerror(number).lower()):
                allowed_now(one)


@pytest.mark.parametrize("number", DEAD)
@pytest.mark.parametrize("call", ["open", "fstat"])
def test_a_directory_that_is_dead_at_the_start_allows_nothing_and_keeps_no_server_from_starting(
    root: Path, number: int, call: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Texts are served all the same; the log says why the directory is none of the roots."""
    real = os.open, os.fstat

    def dead_when_opened(path: Path | str, flags: int, **more: int) -> int:
        if path == root:
            raise failing(number)
        return real[0](path, flags, **more)

    def dead_when_looked_at(descriptor: int) -> os.stat_result:
        if directory.path_of(descriptor) == str(root):
            raise failing(number)
        return real[1](descriptor)

    monkeypatch.setattr(os, call, dead_when_opened if call == "open" else dead_when_looked_at)
    made = Roots.of(root)
    monkeypatch.undo()
    with allowed_now(made) as allowed:
        assert (allowed.paths, allowed.lost) == ((), (str(root),))
    assert (os.strerror(number) in caplog.text) == (number != errno.EACCES)


def test_a_root_that_was_not_there_stays_none_in_a_record_and_beside_it(root: Path) -> None:
    """Whatever is made at its path later: a session that comes back opens no more than the one that was opened."""
    root.rmdir()
    absent = Roots.of(root)
    again = recorded(absent)
    root.mkdir()
    fresh = Roots.of(root)
    named = Roots.named(root)
    try:
        for one in (absent, again, absent.recorded(), absent.within(again), fresh.within(again), named.within(again)):
            with allowed_now(one) as allowed:
                assert allowed.paths == ()
        with allowed_now(recorded(fresh)) as allowed:
            assert allowed.paths == (str(root),)
        assert named not in (absent, again)
    finally:
        fresh.close()
