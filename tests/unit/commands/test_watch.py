"""`watch` says what it cannot do before it serves anything, and serves on loopback alone."""

from __future__ import annotations

import contextlib
import json
import os
import re
import socket
import sys
from pathlib import Path
from typing import Any

import pytest

from rlm_kernel_mcp.cli import main
from rlm_kernel_mcp.commands.watch import export, watch
from rlm_kernel_mcp.errors import InvalidInput, SessionNotFound
from rlm_kernel_mcp.settings import Settings, load_settings
from rlm_kernel_mcp.store.store import SessionRecord, Store
from rlm_kernel_mcp.watching.web import serving
from tests.unit.watching.recorded import Recorded


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return load_settings(tmp_path, {"RLM_STATE_DIR": str(tmp_path / "state")})


def recorded(settings: Settings) -> None:
    store = Store.open(settings.state_dir)
    store.add_session(SessionRecord("s_1", "2026-11-30T12:00:00Z", "text", "idle"))
    store.close()


def test_where_nothing_was_ever_recorded_it_says_so_and_leaves_nothing(settings: Settings) -> None:
    with pytest.raises(SessionNotFound, match="No session was ever recorded"):
        watch(settings, {}, None, 0)
    assert not settings.state_dir.exists()


def test_of_a_session_that_nobody_knows_it_says_so(settings: Settings) -> None:
    recorded(settings)
    with pytest.raises(SessionNotFound, match="s_2"):
        watch(settings, {}, "s_2", 0)


def test_a_port_that_somebody_has_is_refused(settings: Settings) -> None:
    recorded(settings)
    with socket.create_server(("127.0.0.1", 0)) as theirs:
        port = theirs.getsockname()[1]
        with pytest.raises(InvalidInput, match=f"Port {port} of 127.0.0.1"):
            watch(settings, {}, None, port)


def test_it_listens_on_loopback_and_begins_with_the_session_that_is_named(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    recorded(settings)
    seen: list[str] = []

    def serve(listener: socket.socket, store: Store, environ: dict[str, str], *of_door: Any) -> None:
        assert of_door[1].exchange(of_door[1].current) == "let in"
        seen.extend([listener.getsockname()[0], environ["RLM_STATE_DIR"]])
        assert store.knows("s_1")
        listener.close()

    monkeypatch.setattr(serving, "serve", serve)
    assert watch(settings, {}, "s_1", 0) == 0
    assert seen == ["127.0.0.1", str(settings.state_dir)]
    first, then = capsys.readouterr().out.splitlines()
    for address in (first, then):  # one that is used up is followed by another
        assert address.startswith("http://127.0.0.1:")
        assert address.endswith("/#/s/s_1")
    assert first != then


def test_who_is_let_in_gets_the_page_also_where_nobody_reads_the_next_address(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Such as behind `| head -1`."""
    recorded(settings)
    reader, writer = os.pipe()

    def serve(listener: socket.socket, _store: Store, _environ: dict[str, str], *of_door: Any) -> None:
        listener.close()
        os.close(reader)
        assert of_door[1].exchange(of_door[1].current) == "let in"

    monkeypatch.setattr(serving, "serve", serve)
    out = os.fdopen(writer, "w", buffering=1, encoding="utf-8", closefd=True)
    monkeypatch.setattr(sys, "stdout", out)
    assert watch(settings, {}, "s_1", 0) == 0
    with contextlib.suppress(BrokenPipeError):
        out.close()


def test_a_session_becomes_one_new_file(settings: Settings, tmp_path: Path) -> None:
    session = Recorded(settings.state_dir)
    session.step("print('</script><b>')", stdout="</script><b>")
    session.finalize()
    session.close()
    file = tmp_path / "run.html"
    assert export(settings, "s_1", file) == 0
    page = file.read_text(encoding="utf-8")
    assert "</script><b>" not in page
    (data,) = re.findall(r'<script type="application/json" id="export">(.*?)</script>', page)
    assert json.loads(data)[0]["type"] == "head"
    assert json.loads(data)[-1] == {"type": "end", "status": "finalized"}
    with pytest.raises(FileExistsError):
        export(settings, "s_1", file)


def test_no_file_is_made_of_a_session_that_nobody_knows(settings: Settings, tmp_path: Path) -> None:
    recorded(settings)
    with pytest.raises(SessionNotFound, match="s_2"):
        export(settings, "s_2", tmp_path / "run.html")
    assert not (tmp_path / "run.html").exists()


@pytest.mark.parametrize("arguments", [["--port", "-1"], ["--port", "65536"], ["--port", "x"], ["--export", "f.html"]])
def test_what_makes_no_sense_is_refused(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with contextlib.suppress(SystemExit):
        assert main(["watch", *arguments]) == 2
    assert re.search("no port|none is named", capsys.readouterr().err)
