"""Roots are the directories that were opened, whatever is at their paths by now."""

from __future__ import annotations

import errno
import json
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from rlm_kernel_mcp.context.reading import build_payload
from rlm_kernel_mcp.context.roots import directory
from rlm_kernel_mcp.context.roots.directory import Root
from rlm_kernel_mcp.context.roots.open_roots import Roots
from rlm_kernel_mcp.context.roots.opening import open_below
from rlm_kernel_mcp.context.sources import Sources, resolve_sources
from rlm_kernel_mcp.errors import ContextDenied, RequestRefused


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A root with a file; beside it a directory with one of the same name that is nobody's to read."""
    for name, text in (("allowed", "mine"), ("outside", "a secret")):
        (tmp_path / name / "d").mkdir(parents=True)
        (tmp_path / name / "d" / "a.txt").write_text(text)
    return tmp_path / "allowed"


@pytest.fixture(autouse=True)
def every_root_is_closed(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """What a test has opened, at its end."""
    made, real = list[Root](), Root.of_descriptor

    def noted(descriptor: int) -> Root:
        made.append(real(descriptor))
        return made[-1]

    monkeypatch.setattr(Root, "of_descriptor", noted)
    yield
    for root in made:
        root.close()


def paths_of(roots: Roots | None) -> tuple[str, ...]:
    """The roots' paths just now."""
    assert roots is not None
    with roots.allowed() as allowed:
        return allowed.paths


def resolve(roots: Roots, *paths: Path | str) -> Sources:
    return resolve_sources([str(one) for one in paths], roots=roots, working_dir=Path("/"), max_bytes=1_000_000)


def read(sources: Sources) -> bytes:
    with build_payload(sources) as payload:
        assert payload.descriptor is not None
        return os.pread(payload.descriptor, 100, 0)


def by_a_link(root: Path) -> None:
    root.rename(root.with_name("was"))
    root.symlink_to("outside")


def by_another_directory(root: Path) -> None:
    root.rename(root.with_name("was"))
    root.with_name("outside").rename(root)


def by_a_directory_made_anew(root: Path) -> None:
    root.rename(root.with_name("was"))
    (root / "d").mkdir(parents=True)
    (root / "d" / "a.txt").write_text("a secret")


REPLACED = [by_a_link, by_another_directory, by_a_directory_made_anew]


@pytest.mark.parametrize("replace", REPLACED)
def test_a_root_that_was_replaced_is_not_followed(root: Path, replace: Callable[[Path], None]) -> None:
    """By anything: what is at its path now was never opened. The refusal says what to do."""
    roots = Roots.of(root)
    replace(root)
    for given in (root / "d/a.txt", root, f"{root}/**", root.with_name("outside")):
        with pytest.raises(RequestRefused) as refused:
            resolve(roots, given)
        assert isinstance(refused.value, ContextDenied) or str(root) not in str(given)
    with pytest.raises(ContextDenied, match=r"outside the allowed roots, which are '.*/was'"):
        resolve(roots, root / "d/a.txt")


@pytest.mark.parametrize("replace", REPLACED)
def test_a_root_that_is_replaced_between_the_look_and_the_reading_is_not_followed(
    root: Path, replace: Callable[[Path], None]
) -> None:
    """The files were found by their names; those are not the root's any more."""
    sources = resolve(Roots.of(root), root / "d/a.txt")
    replace(root)
    with pytest.raises(ContextDenied, match=r"a\.txt' was replaced while it was being opened"):
        read(sources)


@pytest.mark.parametrize("replace", REPLACED)
def test_a_root_that_is_replaced_while_a_request_has_it_stays_the_one_that_was_opened(
    root: Path, replace: Callable[[Path], None]
) -> None:
    """Each file is opened from the directory itself, whatever it is called meanwhile."""
    with Roots.of(root).allowed() as allowed:
        replace(root)
        descriptor = open_below(f"{root}/d/a.txt", "a.txt", allowed)
    try:
        assert os.read(descriptor, 100) == b"mine"
    finally:
        os.close(descriptor)


def test_a_root_that_was_renamed_allows_what_is_in_it_and_nothing_more(root: Path) -> None:
    """By its name of now: it is the directory that the user allowed."""
    roots = Roots.of(root)
    was = root.rename(root.with_name("was"))
    assert read(resolve(roots, was / "d/a.txt")) == b"mine"
    with pytest.raises(ContextDenied):
        resolve(roots, root.with_name("outside") / "d/a.txt")


def test_a_root_that_was_removed_allows_nothing_though_one_is_made_again(root: Path) -> None:
    """Not even where the new one is called as the system calls one that is gone."""
    roots = Roots.of(root)
    (root / "d/a.txt").unlink()
    (root / "d").rmdir()
    root.rmdir()
    for name in ("allowed", "allowed (deleted)"):
        made = root.with_name(name)
        made.mkdir()
        (made / "a.txt").write_text("x")
        with pytest.raises(
            ContextDenied, match=r"none that exists.*removed or replaced since it was opened"
        ) as refused:
            resolve(roots, made / "a.txt")
        assert "start the MCP server anew" in refused.value.next_step


def test_a_link_in_the_middle_of_a_path_is_not_followed_by_the_walk(root: Path) -> None:
    """Names that were resolved have no links; one that has come since leads nowhere, not even inside."""
    (root / "in").symlink_to("d")
    (root / "out").symlink_to("../outside/d")
    (root / "up").mkdir()
    for name in ("in/a.txt", "out/a.txt", "../outside/d/a.txt", "up/../../outside/d/a.txt"):
        with Roots.of(root).allowed() as allowed, pytest.raises((ContextDenied, OSError)):
            os.close(open_below(f"{root}/{name}", name, allowed))


def test_what_two_sets_allow_is_decided_by_the_directories_and_not_by_their_names(root: Path, tmp_path: Path) -> None:
    """A root that lies below another's path, but is another directory than the one that is there."""
    both, inner = Roots.of(tmp_path), Roots.of(root / "d")
    assert paths_of(inner.within(both)) == (str(root / "d"),)
    assert paths_of(both.within(inner)) == (str(root / "d"),)
    (root / "d").rename(root / "was")
    (root / "d").mkdir()
    fresh = Roots.of(root / "d")
    assert paths_of(inner.within(fresh)) == ()
    assert paths_of(inner.within(both)) == (str(root / "was"),)
    assert paths_of(Roots.of(root).within(Roots.of(tmp_path / "outside"))) == ()
    assert paths_of(Roots()) == paths_of(Roots.of(root).within(Roots(((),)))) == ()


def recorded(roots: Roots) -> tuple[list[list[str]], list[list[list[object]]]]:
    """As a record has them."""
    paths, kept = json.loads(json.dumps([roots.paths, roots.kept]))
    return paths, kept


def test_recorded_roots_are_the_same_directories_or_none(root: Path) -> None:
    """Another server opens them again: by the path, of which no part may be a link, if it is the same directory."""
    roots = Roots.of(root)  # held open, so that no other directory gets its number
    paths, kept = recorded(roots)
    again = Roots.of_record(paths, kept)
    assert again == roots
    assert read(resolve(again, root / "d/a.txt")) == b"mine"
    for replace in REPLACED:
        again = Roots.of_record(paths, kept)
        replace(root)
        assert again is not None
        with again.allowed() as allowed:
            assert (allowed.paths, allowed.lost) == ((), (str(root),))
        if root.is_symlink():
            root.unlink()
        else:
            root.rename(root.with_name(f"other-{replace.__name__}"))
        root.with_name("was").rename(root)
        (root.with_name("outside") / "d").mkdir(parents=True, exist_ok=True)
        assert paths_of(again) == (str(root),)  # it is back


def test_a_recorded_root_is_known_by_its_number_after_a_restart_of_the_machine(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Which gives many a file system another device number; its inode says enough then, and not before."""
    roots = Roots.of(root)
    paths, [[[device, inode, boot]]] = recorded(roots)
    other_device = Roots.of_record(paths, [[[int(str(device)) + 1, inode, boot]]])
    other_inode = Roots.of_record(paths, [[[device, int(str(inode)) + 1, boot]]])
    assert other_device is not None
    assert other_inode is not None
    assert paths_of(other_device) == paths_of(other_inode) == ()
    monkeypatch.setattr(directory, "boot_id", lambda: "another run")
    assert paths_of(other_device) == (str(root),)
    assert paths_of(other_inode) == ()
    monkeypatch.setattr(directory, "boot_id", lambda: "")  # it does not say which run it is
    untold = Roots.of_record(paths, [[[int(str(device)) + 1, inode, ""]]])
    assert paths_of(untold) == (str(root),)


def test_a_record_from_before_it_said_which_directories_names_their_paths(root: Path) -> None:
    """And none of them is a link."""
    again = Roots.of_record([[str(root)]], None)
    assert again is not None
    assert paths_of(again) == (str(root),)
    by_a_link(root)
    linked = Roots.of_record([[str(root)]], None)
    assert linked is not None
    assert paths_of(linked) == ()
    assert Roots.of_record([], None) is None


def test_a_root_that_was_closed_allows_nothing_but_to_the_request_that_has_it(root: Path) -> None:
    """Its descriptor is closed at once, and no request ever uses the number, which may be another file's by then."""
    descriptor = os.open(root, os.O_PATH | os.O_DIRECTORY)
    roots = Roots.of_descriptors([descriptor])
    with roots.allowed() as allowed:
        assert all(one.descriptor != descriptor for one in allowed._opened)
        roots.close()
        roots.close()
        os.close(open_below(str(root / "d/a.txt"), "a.txt", allowed))
    assert paths_of(roots) == ()
    assert paths_of(roots.recorded()) == (str(root),)
    with pytest.raises(ContextDenied):
        resolve(roots, root / "d/a.txt")


def test_a_directory_that_may_only_be_entered_is_a_root(root: Path) -> None:
    """What is named in it can be read, as before."""
    root.chmod(0o311)
    try:
        assert read(resolve(Roots.of(root), root / "d/a.txt")) == b"mine"
    finally:
        root.chmod(0o755)


def test_roots_of_which_one_cannot_be_opened_leave_none_open(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that is out of descriptors would be for good."""
    closed: set[int] = set()
    close, first = os.close, os.open(root, os.O_PATH | os.O_DIRECTORY)

    def noted(descriptor: int) -> None:
        closed.add(descriptor)
        close(descriptor)

    def descriptors() -> Iterator[int]:
        yield first
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    monkeypatch.setattr(os, "close", noted)
    with pytest.raises(OSError, match="Too many open files"):
        Roots.of_descriptors(descriptors())
    assert first in closed


@pytest.mark.skipif(sys.platform == "darwin", reason="the system is asked without /proc")
def test_a_root_is_not_said_to_be_gone_where_it_is_proc_that_is_not_there(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The directory was opened; that its name cannot be had says nothing about it, and leaves nothing open."""
    closed: list[int] = []
    close = os.close

    def noted(descriptor: int) -> None:
        closed.append(descriptor)
        close(descriptor)

    def hidden(link: str) -> str:
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), link)

    monkeypatch.setattr(os, "close", noted)
    monkeypatch.setattr(os, "readlink", hidden)
    with pytest.raises(OSError, match="/proc does not say what an open directory is called; it must be mounted"):
        Roots.of(root)
    assert len(closed) == 1
