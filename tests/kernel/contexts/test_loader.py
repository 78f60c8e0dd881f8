"""A loader reads a context behind all walls, and says of it what a plain reading of the whole would."""

from __future__ import annotations

import gzip
import hashlib
import os
import signal
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from rlm_kernel_mcp.context.by_loader import load
from rlm_kernel_mcp.context.held import Room
from rlm_kernel_mcp.context.loader.client import LoaderClient
from rlm_kernel_mcp.context.loader.loaders import Loaders
from rlm_kernel_mcp.context.loader.spool import Spool
from rlm_kernel_mcp.context.reading import build_payload
from rlm_kernel_mcp.context.sources import resolve_sources
from rlm_kernel_mcp.errors import ContextDenied, ContextNotFound, ContextTooLarge, InvalidInput
from rlm_kernel_mcp.kernel.placement.local.loader import LoaderProcess
from rlm_kernel_mcp.session.reports import ContextReport
from tests.kernel.contexts.conftest import DECODED, MAPPED, Load, held_bytes
from tests.sessions import AMPLE, SessionDriver, open_registry


class NobodyWaits(Exception):
    """As `session/kernels/loading.py` ends a reading."""


ASCII = "a line\n" * 30_000
TEXTS = {
    "ascii": ASCII,
    "latin-1": f"{ASCII}Grüße\n",
    "ucs2": f"{ASCII}日本\r\n\0",
    "ucs4": f"{ASCII}😀 Grüße\n",
}
CODECS = {"ascii": "ascii", "latin-1": "latin-1", "ucs2": "utf-16-le", "ucs4": "utf-32-le"}


def is_running(process: LoaderProcess) -> bool:
    """Whether any code of it can still run; its parent collects what is left of it in its own time."""
    try:
        status = Path(f"/proc/{process.pid}/status").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False
    return "State:\tZ" not in status and "State:\tX" not in status


@pytest.mark.parametrize("layout", TEXTS)
def test_a_text_lies_on_disk_as_its_characters_lie_in_memory(directory: Path, read: Load, layout: str) -> None:
    """ASCII where it is; what is wider in bytes than in characters, or the other way round, in a file of our own."""
    text = TEXTS[layout]
    (directory / "a.txt").write_bytes(text.encode())
    with read("a.txt", room=MAPPED) as payload:
        assert (payload.layout, payload.byte_count) == (layout, len(text.encode()))
        assert payload.lines == text.count("\n") + (not text.endswith("\n"))
        assert payload.held == ("mapped" if layout == "ascii" else "spooled")
        assert payload.sha256 == hashlib.sha256(text.encode()).hexdigest()
        laid = text.encode(CODECS[layout])
        assert held_bytes(payload, len(laid)) == laid
        assert payload.index is not None
        assert (payload.index.document(0).chars, payload.index.document(0).line_ends) == (len(text), text.count("\n"))
        source = payload.descriptor if payload.source is None else payload.source
        assert source is not None
        place = payload.index.byte_of_line(0, 20_001, lambda offset, size: os.pread(source, size, offset))
        assert place == 20_000 * len("a line\n")


def test_bytes_of_latin_1_are_their_own_characters(directory: Path, read: Load) -> None:
    """No copy of them is made, beside ASCII too."""
    (directory / "a.txt").write_bytes(b"plain\n")
    (directory / "b.txt").write_bytes("Grüße\n".encode("latin-1") * 20_000)
    with read("*.txt", room=MAPPED) as payload:
        assert (payload.layout, payload.source) == ("latin-1", None)
        assert held_bytes(payload).decode("latin-1") == "plain\n" + "Grüße\n" * 20_000


def test_a_loader_says_what_the_host_s_own_reading_says(directory: Path, read: Load) -> None:
    """Names, sizes, encodings, undecodable bytes, hash, what is left out: the same payload."""
    (directory / "a.txt").write_bytes(b"x" * 65_536)
    (directory / "b.txt").write_bytes("ü".encode() * 50_000 + b"\xff\n")
    (directory / "c.txt").write_bytes("ü\n".encode("utf-16"))
    (directory / "d.txt").write_bytes("ü\n".encode("latin-1") * 5)
    (directory / "e.bin").write_bytes(b"\0" * 10)
    (directory / "f.zip").write_bytes(b"PK")
    (directory / "g.txt").write_bytes(b"")
    sources = resolve_sources(["."], roots=(directory,), working_dir=directory, max_bytes=1 << 30)
    with read(".") as by_loader, build_payload(sources) as by_host:
        assert by_loader.documents == by_host.documents
        assert (by_loader.sha256, by_loader.byte_count) == (by_host.sha256, by_host.byte_count)
        assert held_bytes(by_loader) == held_bytes(by_host)
        assert sorted(by_loader.skipped.first) == sorted(by_host.skipped.first)


def test_a_loader_stands_behind_every_wall_that_this_machine_has(loaders: Loaders, directory: Path) -> None:
    """It holds the walls of a kernel, and is gone when it has answered."""
    (directory / "a.txt").write_text("text")
    started: list[LoaderProcess] = []
    seen: list[str] = []

    def start(*asked: Any) -> LoaderProcess:
        process = loaders.start(*asked)
        assert isinstance(process, LoaderProcess)
        started.append(process)
        status = Path(f"/proc/{process.pid}/status").read_text()
        seen.extend(line for line in status.splitlines() if line.startswith(("Seccomp:", "NoNewPrivs:", "CapEff:")))
        return process

    sources = resolve_sources(["a.txt"], roots=(directory,), working_dir=directory, max_bytes=100)
    payload = load(sources, DECODED, replace(loaders, start=start))
    assert payload is not None
    payload.close()
    (process,) = started
    assert {row["name"] for row in process.walls if not row["holds"]} <= {"namespaces", "scratch_quota"}
    assert sorted(seen) == ["CapEff:\t0000000000000000", "NoNewPrivs:\t1", "Seccomp:\t2"]
    assert not is_running(process)


def test_a_loader_that_is_killed_is_an_error_and_leaves_nothing(
    loaders: Loaders, directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The next context is loaded as ever."""
    (directory / "a.txt").write_text("text")
    sources = resolve_sources(["a.txt"], roots=(directory,), working_dir=directory, max_bytes=100)
    begin = LoaderClient.begin

    def killed(client: LoaderClient, *asked: object) -> None:
        assert isinstance(client._process, LoaderProcess)
        os.kill(client._process.pid, signal.SIGKILL)
        begin(client, *asked)  # type: ignore[arg-type]

    with monkeypatch.context() as patch:
        patch.setattr(LoaderClient, "begin", killed)
        with pytest.raises(ContextDenied, match="the process that reads it ended"):
            load(sources, DECODED, loaders)
    payload = load(sources, DECODED, loaders)
    assert payload is not None
    with payload:
        assert held_bytes(payload) == b"text"


def test_a_loading_that_nobody_waits_for_ends_its_process(loaders: Loaders, directory: Path) -> None:
    """At the next look, wherever it is."""
    (directory / "a.txt").write_text("text")
    sources = resolve_sources(["a.txt"], roots=(directory,), working_dir=directory, max_bytes=100)
    started: list[LoaderProcess] = []

    def start(*asked: Any) -> LoaderProcess:
        process = loaders.start(*asked)
        assert isinstance(process, LoaderProcess)
        started.append(process)
        return process

    def go_on() -> None:
        if started:
            raise NobodyWaits

    with pytest.raises(NobodyWaits):
        load(sources, DECODED, replace(loaders, start=start), go_on=go_on)
    assert not is_running(started[0])


def test_files_that_are_refused_are_named(directory: Path, read: Load) -> None:
    """As by the host's own reading."""
    (directory / "a.bin").write_bytes(b"\0" * 100)
    (directory / "b.tar.gz").write_bytes(b"")
    with pytest.raises(InvalidInput, match=r"'a\.bin' is binary"):
        read("a.bin")
    with pytest.raises(InvalidInput, match=r"'b\.tar\.gz' is an archive"):
        read("b.tar.gz")
    with pytest.raises(ContextNotFound, match=r"skipped: 2"):
        read("*")


def test_a_text_that_the_spool_has_no_room_for_is_refused(directory: Path, read: Load, tmp_path: Path) -> None:
    """With its size on disk, the factor, and the setting."""
    (directory / "a.txt").write_text(TEXTS["ucs4"])
    small = Spool(tmp_path, 300_000)
    no_memory = Room(1, 0, 1 << 40)
    with pytest.raises(ContextTooLarge, match=r"840,\d\d\d as text.*needs 4 bytes.*RLM_SPOOL_GB leaves 300,000"):
        read("a.txt", room=no_memory, spool=small)
    assert small.used_bytes == 0


@pytest.mark.parametrize("name", ["a.txt", "*.txt"])
def test_a_disk_that_is_full_is_told(directory: Path, read: Load, loaders: Loaders, name: str) -> None:
    """Of a text that is spooled, and of files that are laid together. Here it is the limit of a file's size."""
    (directory / "a.txt").write_text(TEXTS["ucs4"] * 3)
    (directory / "b.txt").write_text("b")
    full = Room(1, 0, 1 << 40)
    with pytest.raises(ContextTooLarge, match="cannot be written into RLM_STATE_DIR: file too large"):
        read(name, room=full, start=lambda file_mb, *more: loaders.start(0 if "*" in name else 1, *more))


def test_sessions_over_the_same_file_have_one_text_on_disk(directory: Path, read: Load, loaders: Loaders) -> None:
    """As long as one of them has it; a change of the file makes another."""
    (directory / "a.txt").write_text(TEXTS["ucs2"])
    first = read("a.txt", room=MAPPED)
    used = loaders.spool.used_bytes
    assert used == len(TEXTS["ucs2"]) * 2
    second = read("a.txt", room=MAPPED)
    assert first.file is second.file
    assert loaders.spool.used_bytes == used
    first.close()
    assert held_bytes(second, used) == TEXTS["ucs2"].encode("utf-16-le")
    (directory / "a.txt").write_text(TEXTS["ucs2"] + "!")
    with read("a.txt", room=MAPPED) as third:
        assert third.file is not second.file
    second.close()
    assert loaders.spool.used_bytes == 0


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("name", "text", "held"),
    [
        ("a.txt", "line\n" * 3_000_000, "mapped"),
        ("a.txt", "Grüße\n" * 1_500_000, "spooled"),
        ("a.txt", "Grüße 日本 😀\n" * 900_000, "spooled"),
        ("a.txt.gz", "packed\n" * 2_000_000, "mapped"),
        ("a.txt.gz", "packed 日本\n", "memory"),
    ],
)
async def test_a_context_that_a_loader_read_is_the_text_that_it_is(
    tmp_path: Path, name: str, text: str, held: str
) -> None:
    """In the kernel, in the reply, and once more after a restore; what the server wrote for it goes with it."""
    directory = tmp_path / "data"
    directory.mkdir()
    raw = text.encode()
    (directory / name).write_bytes(gzip.compress(raw, 1) if name.endswith("gz") else raw)
    policy = {"context": {"in_memory_mb": 1}}
    async with open_registry(tmp_path / "state", policy=policy, RLM_CONTEXT_ROOTS=str(directory)) as registry:
        paths = [str(directory / name)]
        told = (await registry.init_context(context_text=None, context_paths=paths, limits=AMPLE)).context
        assert isinstance(told, ContextReport)
        assert (told.chars, told.lines, told.held) == (len(text), text.count("\n"), held)
        assert (told.bytes, told.sha256) == (len(raw), hashlib.sha256(raw).hexdigest())
        assert [(one.name, one.chars) for one in told.documents] == [(name, len(text))]
        ((session_id, _),) = registry._sessions.items()
        session = SessionDriver(registry, session_id)
        facts = f"len(context), context.count('e'), context[-9:], hash(context) == hash(documents[{name!r}])"
        expected = repr((len(text), text.count("e"), text[-9:], True))
        assert (await session.ok(facts)).result == expected
        session.kernel.process.kill()
        assert (await session.run("pass")).status == "kernel_died"
        assert (await session.ok(facts)).result == expected
        assert registry._shared.loaders is not None
        spool = registry._shared.loaders.spool
        assert (spool.used_bytes > 0) == (held != "memory" and not (held == "mapped" and name == "a.txt"))
    assert spool.used_bytes == 0
