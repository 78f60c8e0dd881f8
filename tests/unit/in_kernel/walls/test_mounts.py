"""Which places a kernel's view of the files is put together from."""

from __future__ import annotations

from pathlib import Path

from rlm_kernel_mcp.in_kernel.walls.mounts import resolve


def test_links_on_the_way_are_kept_and_the_real_place_is_shown(tmp_path: Path) -> None:
    """A path is found under its own name and under the real one: an absolute link, then a relative one."""
    (tmp_path / "real" / "lib").mkdir(parents=True)
    (tmp_path / "absolute").symlink_to(tmp_path / "real")
    (tmp_path / "real" / "lib64").symlink_to("../real/./lib")
    links, places = resolve([str(tmp_path / "absolute" / "lib64")])
    assert links == {
        str(tmp_path / "absolute"): str(tmp_path / "real"),
        str(tmp_path / "real" / "lib64"): "../real/./lib",
    }
    assert places == [str(tmp_path / "real" / "lib")]


def test_a_place_inside_another_is_shown_once(tmp_path: Path) -> None:
    """Mounting it again would only put another mount on top."""
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "ab").mkdir()
    _, places = resolve([str(tmp_path / "a" / "b"), str(tmp_path / "a"), str(tmp_path / "ab")])
    assert sorted(places) == [str(tmp_path / "a"), str(tmp_path / "ab")]


def test_what_does_not_exist_is_left_out(tmp_path: Path) -> None:
    """A machine without /lib64 has a kernel all the same; a link to nowhere is not a place."""
    (tmp_path / "dangling").symlink_to(tmp_path / "nowhere")
    assert resolve([str(tmp_path / "missing"), str(tmp_path / "dangling")]) == ({}, [])
