"""The key of the live page is kept for this user alone, for a week; no token is kept, and each is good for once."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from rlm_kernel_mcp.watching.web.secret import DIRECTORY, FILE, LASTS_S, USED_KEPT, Tokens, secret_of


def place(directory: Path) -> Path:
    return directory / DIRECTORY / FILE


def test_it_is_the_same_for_whoever_starts_again(tmp_path: Path) -> None:
    assert secret_of(tmp_path) == secret_of(tmp_path)
    assert stat.S_IMODE(place(tmp_path).stat().st_mode) == 0o600
    assert stat.S_IMODE(place(tmp_path).parent.stat().st_mode) == 0o700
    assert [path.name for path in place(tmp_path).parent.iterdir()] == [FILE]


def test_it_is_another_one_in_another_place(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    assert secret_of(tmp_path) != secret_of(tmp_path / "a")


def test_after_a_week_there_is_another_one(tmp_path: Path) -> None:
    first = secret_of(tmp_path)
    begun = place(tmp_path).stat().st_mtime - LASTS_S - 1
    os.utime(place(tmp_path), (begun, begun))
    assert secret_of(tmp_path) != first


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o666])
def test_one_that_others_may_read_is_not_taken(tmp_path: Path, mode: int) -> None:
    first = secret_of(tmp_path)
    place(tmp_path).chmod(mode)
    assert secret_of(tmp_path) != first
    assert stat.S_IMODE(place(tmp_path).stat().st_mode) == 0o600


@pytest.mark.parametrize("text", ["", "short", "é" * 43, "a" * 44])
def test_a_file_that_holds_no_key_is_written_anew(tmp_path: Path, text: str) -> None:
    place(tmp_path).parent.mkdir()
    place(tmp_path).write_text(text)
    place(tmp_path).chmod(0o600)
    assert secret_of(tmp_path) == secret_of(tmp_path)


def test_a_link_or_a_pipe_in_its_place_is_not_read(tmp_path: Path) -> None:
    place(tmp_path).parent.mkdir()
    os.mkfifo(place(tmp_path), 0o600)
    first = secret_of(tmp_path)
    assert secret_of(tmp_path) == first
    (tmp_path / "theirs").write_text("t" * 43)
    place(tmp_path).unlink()
    place(tmp_path).symlink_to(tmp_path / "theirs")
    assert secret_of(tmp_path).key != "t" * 43


def test_where_nothing_can_be_kept_it_lasts_as_long_as_the_process(tmp_path: Path) -> None:
    (tmp_path / DIRECTORY).write_text("a file")
    assert secret_of(tmp_path) != secret_of(tmp_path)


def test_the_cookie_lets_in_and_is_not_the_key(tmp_path: Path) -> None:
    secret = secret_of(tmp_path)
    assert secret.is_cookie(secret.cookie)
    assert not secret.is_cookie(secret.key)
    assert not secret.is_cookie("\ud800")


def test_each_token_is_good_for_once() -> None:
    tokens = Tokens()
    first = tokens.current
    assert [tokens.exchange(first) for _ in range(2)] == ["let in", "used"]
    assert tokens.current != first
    assert tokens.exchange(tokens.current) == "let in"
    assert [tokens.exchange(other) for other in ("", "x" * 43, "\ud800")] == ["unknown"] * 3


def test_of_a_token_that_was_used_long_ago_it_is_not_known_that_it_was() -> None:
    tokens = Tokens()
    first = tokens.current
    for _ in range(USED_KEPT + 1):
        tokens.exchange(tokens.current)
    assert tokens.exchange(first) == "unknown"
