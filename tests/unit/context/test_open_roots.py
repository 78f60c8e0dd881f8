"""Roots are the directories that were opened, whatever is at their paths by now."""

from __future__ import annotations

import gc
import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from rlm_kernel_mcp.context.reading import build_payload
from rlm_kernel_mcp.context.roots import open_roots
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
    """The files were found by their names; they are opened below the directory that was opened."""
    sources = resolve(Roots.of(root), root / "d/a.txt")
    replace(root)
    assert read(sources) == b"mine"


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
    allowed = Roots.of(root).allowed()
    (root / "in").symlink_to("d")
    (root / "out").symlink_to("../outside/d")
    (root / "up").mkdir()
    for name in ("in/a.txt", "out/a.txt", "../outside/d/a.txt", "up/../../outside/d/a.txt"):
        with pytest.raises((ContextDenied, OSError)):
            os.close(open_below(f"{root}/{name}", name, allowed))


def test_what_two_sets_allow_is_decided_by_the_directories_and_not_by_their_names(root: Path, tmp_path: Path) -> None:
    """A root that lies below another's path, but is another directory than the one that is there."""
    both, inner = Roots.of(tmp_path), Roots.of(root / "d")
    assert inner.within(both).allowed().paths == (str(root / "d"),)
    assert both.within(inner).allowed().paths == (str(root / "d"),)
    (root / "d").rename(root / "was")
    (root / "d").mkdir()
    fresh = Roots.of(root / "d")
    assert inner.within(fresh).allowed().paths == ()
    assert inner.within(both).allowed().paths == (str(root / "was"),)
    assert Roots.of(root).within(Roots.of(tmp_path / "outside")).allowed().paths == ()
    assert Roots().allowed().paths == Roots.of(root).within(Roots(((),))).allowed().paths == ()


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
        assert again.allowed() == ((), (str(root),))
        if root.is_symlink():
            root.unlink()
        else:
            root.rename(root.with_name(f"other-{replace.__name__}"))
        root.with_name("was").rename(root)
        (root.with_name("outside") / "d").mkdir(parents=True, exist_ok=True)
        assert again.allowed().paths == (str(root),)  # it is back


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
    assert other_device.allowed().paths == other_inode.allowed().paths == ()
    monkeypatch.setattr(open_roots, "boot_id", lambda: "another run")
    assert other_device.allowed().paths == (str(root),)
    assert other_inode.allowed().paths == ()


def test_a_record_from_before_it_said_which_directories_names_their_paths(root: Path) -> None:
    """And none of them is a link."""
    again = Roots.of_record([[str(root)]], None)
    assert again is not None
    assert again.allowed().paths == (str(root),)
    by_a_link(root)
    linked = Roots.of_record([[str(root)]], None)
    assert linked is not None
    assert linked.allowed().paths == ()
    assert Roots.of_record([], None) is None


def test_a_root_is_open_as_long_as_somebody_has_it(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A connection that has ended leaves it to the sessions that it opened; the last one closes it."""
    closed, close = [], os.close

    def noted(descriptor: int) -> None:
        closed.append(descriptor)
        close(descriptor)

    descriptor = os.open(root, os.O_PATH | os.O_DIRECTORY)
    roots = Roots.of_descriptors([descriptor])
    kept, roots = roots.sets[0][0], Roots()
    monkeypatch.setattr(os, "close", noted)
    assert (kept.path_now(), roots.allowed().paths, descriptor in closed) == (str(root), (), False)
    del kept
    gc.collect()
    assert descriptor in closed


def test_a_directory_that_may_only_be_entered_is_a_root(root: Path) -> None:
    """What is named in it can be read, as before."""
    root.chmod(0o311)
    try:
        assert read(resolve(Roots.of(root), root / "d/a.txt")) == b"mine"
    finally:
        root.chmod(0o755)
