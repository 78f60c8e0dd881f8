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
from rlm_kernel_mcp.context.hints import hints
from rlm_kernel_mcp.context.loader.client import LoaderClient
from rlm_kernel_mcp.context.loader.loaders import Loaders
from rlm_kernel_mcp.context.loader.places import Place, PlacesInBlock
from rlm_kernel_mcp.context.loader.spool import Spool
from rlm_kernel_mcp.context.payload import Payload
from rlm_kernel_mcp.context.reading import build_payload
from rlm_kernel_mcp.context.roots.open_roots import Roots
from rlm_kernel_mcp.context.sources import resolve_sources
from rlm_kernel_mcp.errors import ContextDenied, ContextNotFound, ContextTooLarge, InvalidInput
from rlm_kernel_mcp.kernel.placement.local.loader import LoaderProcess
from rlm_kernel_mcp.session.context_reports import ContextReport
from rlm_kernel_mcp.session.registry import Registry
from tests.kernel.contexts.conftest import DECODED, MAPPED, Load, held_bytes
from tests.losses import lose_kernel
from tests.sessions import AMPLE, SessionDriver


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


def file_number(payload: Payload) -> int:
    """Which file it would give to a kernel."""
    assert payload.descriptor is not None
    return os.fstat(payload.descriptor).st_ino


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
        behind = b"" if payload.utf8 is None else b"\0"  # up to the page on which its UTF-8 begins
        assert held_bytes(payload, len(laid)) == laid + behind
        assert payload.index is not None
        assert (payload.index.document(0).chars, payload.index.document(0).line_ends) == (len(text), text.count("\n"))
        source = payload.descriptor if payload.source is None else payload.source
        assert source is not None
        at = 20_000 * len("a line\n")
        block = payload.index.block_of_byte(0, at, lambda offset, size: os.pread(source, size, offset))
        assert PlacesInBlock(block).at_byte(at) == Place(at, at, 20_001)


@pytest.mark.parametrize(
    ("codec", "last"), [("utf-8", b""), ("utf-8-sig", b""), ("utf-8", b"\xff\xfe bad \xf0\x9f"), ("utf-16", None)]
)
def test_the_utf_8_of_a_text_on_disk_lies_behind_it(
    directory: Path, read: Load, codec: str, last: bytes | None
) -> None:
    """From a page on, with a surrogate for each byte that does not decode; of what was no UTF-8 there is none."""
    data = TEXTS["ucs4"].encode(codec) + (last or b"")
    (directory / "a.txt").write_bytes(data)
    text = data.decode(codec, "strict" if last is None else "surrogateescape")
    with read("a.txt", room=MAPPED) as payload:
        assert (payload.held, payload.text_bytes) == ("spooled", 4 * len(text))
        assert payload.descriptor is not None
        if last is None:
            assert payload.utf8 is None
            assert os.fstat(payload.descriptor).st_size == 4 * len(text)
            return
        assert payload.utf8 is not None
        place, size = payload.utf8
        assert place % 65_536 == 0
        assert os.fstat(payload.descriptor).st_size == place + size
        assert os.pread(payload.descriptor, size, place) == text.encode("utf-8", "surrogatepass")


def test_utf_8_beside_a_text_is_left_out_where_the_spool_or_the_window_is_narrow(
    directory: Path, read: Load, tmp_path: Path
) -> None:
    """The text comes first: it is on disk as ever."""
    (directory / "a.txt").write_text(TEXTS["ucs4"])
    text_bytes = 4 * len(TEXTS["ucs4"])
    small = Spool(tmp_path, text_bytes + 65_536)
    for room, spool in ((MAPPED, small), (replace(MAPPED, mapped_bytes=text_bytes), None)):
        with read("a.txt", room=room, **({} if spool is None else {"spool": spool})) as payload:
            assert (payload.held, payload.utf8) == ("spooled", None)
            assert payload.file is not None
            assert payload.file.byte_count == text_bytes


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
    sources = resolve_sources(["."], roots=Roots.named(directory), working_dir=directory, max_bytes=1 << 30)
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

    sources = resolve_sources(["a.txt"], roots=Roots.named(directory), working_dir=directory, max_bytes=100)
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
    sources = resolve_sources(["a.txt"], roots=Roots.named(directory), working_dir=directory, max_bytes=100)
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
    sources = resolve_sources(["a.txt"], roots=Roots.named(directory), working_dir=directory, max_bytes=100)
    started: list[LoaderProcess] = []

    def start(*asked: Any) -> LoaderProcess:
        process = loaders.start(*asked)
        assert isinstance(process, LoaderProcess)
        started.append(process)
        return process

    def check_cancelled() -> None:
        if started:
            raise NobodyWaits

    with pytest.raises(NobodyWaits):
        load(sources, DECODED, replace(loaders, start=start), check_cancelled=check_cancelled)
    assert not is_running(started[0])


def test_a_text_is_shared_only_with_who_gave_its_loader_the_same_files(directory: Path, read: Load) -> None:
    """A file that a loader says it refused may have made it lie about the text of the others."""
    (directory / "a.txt").write_text(TEXTS["ucs2"])
    with read(".", room=MAPPED) as alone, read("a.txt", room=MAPPED) as named:
        assert file_number(alone) == file_number(named)
        (directory / "b.bin").write_bytes(b"\0")
        with read(".", room=MAPPED) as beside, read(".", room=MAPPED) as again:
            assert file_number(beside) == file_number(again)
            assert file_number(beside) != file_number(alone)
            assert {one.skipped.counts["binary"] for one in (beside, again)} == {1}


def test_a_file_that_is_a_document_only_where_it_is_named_is_in_no_other_context_s_text(
    directory: Path, read: Load
) -> None:
    """The two have the same files; what lies on disk of one, with its UTF-8, is as large as the text of the other."""
    nul, wide = "\0" + "x" * 49_151, "日" * 32_768
    (directory / "a").write_text(nul)
    (directory / "b").write_text(wide)
    with read(".", room=MAPPED) as without, read("a", "b", room=MAPPED) as named:
        assert without.file is not None
        assert without.file.byte_count == named.text_bytes
        assert held_bytes(without, len(wide) * 2)[: len(wide) * 2] == wide.encode("utf-16-le")
        laid = (nul + wide).encode("utf-16-le")
        assert held_bytes(named, len(laid))[: len(laid)] == laid


def test_ascii_behind_a_mark_is_on_disk_once(directory: Path, read: Load) -> None:
    """It is its own UTF-8."""
    (directory / "a.txt").write_bytes(ASCII.encode("utf-8-sig"))
    with read("a.txt", room=MAPPED) as payload:
        assert (payload.held, payload.layout, payload.utf8) == ("spooled", "ascii", None)
        assert payload.descriptor is not None
        assert os.fstat(payload.descriptor).st_size == len(ASCII)


def test_no_more_bytes_are_told_to_be_read_than_the_files_have(
    directory: Path, loaders: Loaders, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever the loader says, and an honest one counts what it unpacks."""
    begin = LoaderClient.begin

    def tell_and_begin(client: LoaderClient, *arguments: Any) -> None:
        client.on_progress(1 << 62, 0)
        begin(client, *arguments)

    monkeypatch.setattr(LoaderClient, "begin", tell_and_begin)
    (directory / "a.txt").write_text(ASCII)
    sources = resolve_sources(["a.txt"], roots=Roots.named(directory), working_dir=directory, max_bytes=1 << 30)
    told: list[int] = []
    payload = load(sources, DECODED, loaders, on_bytes=told.append)
    assert payload is not None
    payload.close()
    assert len(told) >= 2
    assert set(told) == {len(ASCII)}


def test_files_that_are_refused_are_named(directory: Path, read: Load) -> None:
    """As by the host's own reading."""
    (directory / "a.bin").write_bytes(b"\0" * 100)
    (directory / "b.tar.gz").write_bytes(b"")
    with pytest.raises(InvalidInput, match=r"'b\.tar\.gz' is an archive"):
        read("b.tar.gz")
    with pytest.raises(ContextNotFound, match=r"skipped: 2"):
        read("*")


@pytest.mark.parametrize("data", [b"\0" * 100, b"\x7fELF\0" + bytes(range(256)) * 1_000, b"\xff\xfe\0"], ids=repr)
def test_a_binary_file_that_is_named_itself_is_loaded(directory: Path, read: Load, data: bytes) -> None:
    """As by the host's own reading: each byte can be had back; packed, it is what it unpacks to."""
    (directory / "a.bin").write_bytes(data)
    (directory / "b.gz").write_bytes(gzip.compress(data))
    for name in ("a.bin", "b.gz"):
        with read(name) as payload:
            (one,) = payload.documents
            assert payload.sha256 == hashlib.sha256(data).hexdigest()
            assert data.decode(one.encoding, one.errors).encode(one.encoding, one.errors) == data
            assert one.looks == ("elf" if b"ELF" in data else "nul")
    with pytest.raises(ContextNotFound, match=r"skipped: 2, such as b\.gz: binary"):
        read("*")


@pytest.mark.parametrize("end", ["gz", "bz2", "xz", "zst"])
def test_a_plain_text_that_is_named_as_a_packed_one_is_loaded_as_it_is(directory: Path, read: Load, end: str) -> None:
    """And that is told; also where it is found in a directory."""
    (directory / f"a.{end}").write_text("plain\n")
    for path in (f"a.{end}", "."):
        with read(path) as payload:
            assert payload.sha256 == hashlib.sha256(b"plain\n").hexdigest()
            assert hints(payload.documents)[0].startswith(f"a.{end} does not hold ")


def test_a_text_that_the_spool_has_no_room_for_is_refused(directory: Path, read: Load, tmp_path: Path) -> None:
    """With its size on disk, the factor, and the setting."""
    (directory / "a.txt").write_text(TEXTS["ucs4"])
    small = Spool(tmp_path, 300_000)
    no_memory = Room(1, 0, 1 << 40)
    with pytest.raises(ContextTooLarge, match=r"840,\d\d\d bytes as text.*needs 4 bytes.*RLM_SPOOL_GB leaves 300,000"):
        read("a.txt", room=no_memory, spool=small)
    assert small.used_bytes == 0


@pytest.mark.parametrize("name", ["a.txt", "*.txt"])
def test_a_disk_that_is_full_is_told(directory: Path, read: Load, loaders: Loaders, name: str) -> None:
    """Of a text that is spooled, and of files that are laid together. Here it is the limit of a file's size."""
    (directory / "a.txt").write_text(TEXTS["ucs4"] * 3)
    (directory / "b.txt").write_text("b")
    full = Room(1, 0, 1 << 40)
    with pytest.raises(ContextTooLarge, match="cannot be written to RLM_STATE_DIR: file too large"):
        read(name, room=full, start=lambda file_mb, *more: loaders.start(0 if "*" in name else 1, *more))


def test_sessions_over_the_same_file_have_one_text_on_disk(directory: Path, read: Load, loaders: Loaders) -> None:
    """As long as one of them has it; a change of the file makes another."""
    (directory / "a.txt").write_text(TEXTS["ucs2"])
    first = read("a.txt", room=MAPPED)
    used = loaders.spool.used_bytes
    assert first.utf8 is not None
    assert used == sum(first.utf8)
    second = read("a.txt", room=MAPPED)
    assert first.file is second.file
    assert first.utf8 == second.utf8
    assert loaders.spool.used_bytes == used
    first.close()
    laid = TEXTS["ucs2"].encode("utf-16-le")
    assert held_bytes(second, used)[: len(laid)] == laid
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
    mapping_registry: Registry, directory: Path, name: str, text: str, held: str
) -> None:
    """In the kernel, in the reply, and once more after a restore; what the server wrote for it goes with it."""
    raw = text.encode()
    (directory / name).write_bytes(gzip.compress(raw, 1) if name.endswith("gz") else raw)
    paths = [str(directory / name)]
    opened = await mapping_registry.init_context(context_text=None, context_paths=paths, limits=AMPLE)
    told = opened.context
    assert isinstance(told, ContextReport)
    assert (told.chars, told.lines, told.held) == (len(text), text.count("\n"), held)
    assert (told.bytes, told.sha256) == (len(raw), hashlib.sha256(raw).hexdigest())
    assert [(one.name, one.chars) for one in told.documents] == [(name, len(text))]
    session = SessionDriver(mapping_registry, opened.session_id)
    facts = f"len(context), context.count('e'), context[-9:], hash(context) == hash(documents[{name!r}])"
    expected = repr((len(text), text.count("e"), text[-9:], True))
    assert (await session.ok(facts)).result == expected
    await lose_kernel(session)
    assert (await session.ok(facts)).result == expected
    assert mapping_registry._shared.loaders is not None
    spool = mapping_registry._shared.loaders.spool
    assert (spool.used_bytes > 0) == (held != "memory" and not (held == "mapped" and name == "a.txt"))
    await session.finalize(text="done")
    assert spool.used_bytes == 0
