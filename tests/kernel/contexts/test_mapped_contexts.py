"""A context that is larger than its room in memory is a `str` over its file, to a session's code and after a loss."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from rlm_kernel_mcp.errors import ContextTooLarge
from rlm_kernel_mcp.session.context_reports import ContextReport
from rlm_kernel_mcp.session.registry import Registry
from tests.kernel.contexts.conftest import SMALL
from tests.losses import lose_kernel, lost, settle, values_file
from tests.sessions import AMPLE, SessionDriver, open_registry

pytestmark = pytest.mark.anyio

MB = 1 << 20
LINE = "2026-11-28 ERROR customer 17 waited for 31 ms at the counter\n"
TEXT = LINE * (2 * MB // len(LINE))


@pytest.fixture
def on_disk(directory: Path) -> Path:
    """A directory whose files are not memory."""
    return directory


@pytest.fixture
def registry(mapping_registry: Registry) -> Registry:
    """One that maps what has more than a megabyte."""
    return mapping_registry


async def opened(registry: Registry, *paths: Path) -> tuple[SessionDriver, ContextReport]:
    """A session over files, and what its client is told of them."""
    names = [str(path) for path in paths]
    report = await registry.init_context(context_text=None, context_paths=names, limits=AMPLE)
    assert isinstance(report.context, ContextReport)
    return SessionDriver(registry, report.session_id), report.context


def file_of(directory: Path, name: str, data: bytes) -> Path:
    """A file with these bytes."""
    path = directory / name
    path.write_bytes(data)
    return path


@pytest.mark.parametrize(
    ("name", "data", "codec"),
    [
        ("ascii", TEXT.encode(), "ascii"),
        ("nul", TEXT.encode() + bytes(70_000), "ascii"),
        ("latin", TEXT.replace("counter", "Schalter für Göße").encode("latin-1"), "latin-1"),
        ("page", (TEXT.encode() * 2)[: 2 * MB], "ascii"),
    ],
)
async def test_a_large_text_of_one_byte_a_character_is_mapped_and_is_what_the_file_holds(
    registry: Registry, on_disk: Path, name: str, data: bytes, codec: str
) -> None:
    """It is an exact `str`, with the characters, lines and ends of an ordinary one."""
    text = data.decode(codec)
    session, context = await opened(registry, file_of(on_disk, name, data))
    assert (context.held, context.chars, context.bytes) == ("mapped", len(text), len(data))
    assert context.lines == text.count("\n") + (not text.endswith("\n"))
    assert (context.head, len(context.documents)) == (text[:400], 1)
    code = f"type(context) is str, context[{MB}:{MB} + 9], context.count('ERROR'), documents[{name!r}] is context"
    expected = (True, text[MB : MB + 9], text.count("ERROR"), True)
    assert (await session.ok(code)).result == repr(expected)
    digest = await session.ok("import hashlib; hashlib.sha256(context.encode('latin-1')).hexdigest()")
    assert digest.result == repr(context.sha256)


async def test_several_documents_are_laid_together_and_stay_slices(registry: Registry, on_disk: Path) -> None:
    """ASCII and latin-1 beside each other are latin-1."""
    first, second = TEXT, TEXT.replace("counter", "Göße")
    paths = [file_of(on_disk, "1.txt", first.encode()), file_of(on_disk, "2.txt", second.encode("latin-1"))]
    session, context = await opened(registry, *paths)
    assert (context.held, context.chars) == ("mapped", len(first + second))
    assert [(one.name, one.chars) for one in context.documents] == [("1.txt", len(first)), ("2.txt", len(second))]
    answer = await session.ok(
        "documents['2.txt'][-30:], documents.at(len(documents['1.txt'])), len(documents['1.txt'])"
    )
    assert answer.result == repr((second[-30:], ("2.txt", 0), len(first)))


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("small", b"x" * MB),
        ("utf-8", (TEXT + "\u4e2d").encode()),
        ("utf-16", TEXT.encode("utf-16")),
        ("marked", b"\xef\xbb\xbf" + TEXT.encode()),
        ("broken", (TEXT + "\u4e2d" * 9).encode() + b"\xff"),
    ],
)
async def test_what_is_small_or_has_to_be_decoded_is_held_in_memory(
    registry: Registry, on_disk: Path, name: str, data: bytes
) -> None:
    """Nothing changes for it."""
    _, context = await opened(registry, file_of(on_disk, name, data))
    assert context.held == "memory"


async def test_a_mapped_context_may_be_larger_than_the_session_s_memory(registry: Registry, on_disk: Path) -> None:
    """A step can go through all of it, and a copy of it is refused as any value that is too large."""
    size = 160 * MB
    path = file_of(on_disk, "large", LINE.encode() * 2000)
    os.truncate(path, size)  # NUL is ASCII
    try:
        session, context = await opened(registry, *(path, file_of(on_disk, "end", b"the end")))
        assert context.held == "mapped"
        before = session.kernel.process.memory_bytes()
        found = await session.ok("context.count('end'), context.find('the end'), context[-3:]")
        assert found.result == repr((1, size, "end"))
        assert session.kernel.process.memory_bytes() - before < 8 * MB
        error = (await session.run("copied = context + 'x'")).error
        assert error is not None
        assert error.ename == "MemoryError"
        assert (await session.ok("len(context)")).result == str(size + 7)
        assert (await session.slice("context", size, 100)).value == "the end"
    finally:
        path.unlink()


async def test_a_file_that_neither_memory_nor_the_spool_has_room_for_is_refused(
    registry: Registry, on_disk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With its bytes, the factor and the setting."""
    loaders = registry._shared.loaders
    assert loaders is not None
    monkeypatch.setattr(loaders.spool, "limit_bytes", 50 * MB)
    path = file_of(on_disk, "long", "\u4e2d".encode() * (30 * MB))
    try:
        with pytest.raises(ContextTooLarge) as refused:
            await opened(registry, path)
    finally:
        path.unlink()
    for words in ("94,371,840 bytes", "62,914,560 bytes as text", "needs 2 bytes", "RLM_SPOOL_GB leaves 52,428,800"):
        assert words in refused.value.message


async def test_a_name_for_a_mapped_context_is_a_reference_after_a_loss_too(registry: Registry, on_disk: Path) -> None:
    """Wherever it stands: no snapshot has a copy of it. What `del` took away comes back with the kernel."""
    session, _ = await opened(registry, file_of(on_disk, "kept", TEXT.encode()))
    await session.ok("x = context; held = [context, {'a': (context, documents)}]; f = lambda: x; part = context[5:50]")
    await session.ok("del context\nx is held[0]")
    await lose_kernel(session)
    assert lost(await session.run("1")) == {}
    same = "x is context, held[0] is context, held[1]['a'][0] is context, f() is context, part"
    assert (await session.ok(same)).result == repr((True, True, True, True, TEXT[5:50]))
    assert values_file(session).stat().st_size < 10_000


async def test_a_kernel_that_is_lost_has_its_context_mapped_again(registry: Registry, on_disk: Path) -> None:
    """The fresh one holds it as the first did."""
    session, _ = await opened(registry, file_of(on_disk, "again", TEXT.encode()))
    await lose_kernel(session)
    await session.run("1")
    assert (await session.ok("len(context), context[:10]")).result == repr((len(TEXT), TEXT[:10]))
    assert [file.byte_count for file in session.kernel.mapped] == [len(TEXT)]


async def test_a_file_that_is_cut_off_ends_the_kernel_and_the_loss_names_it(registry: Registry, on_disk: Path) -> None:
    """How long it is now and how long it was: SIGBUS alone would say nothing."""
    path = file_of(on_disk, "cut", TEXT.encode())
    session, _ = await opened(registry, path)
    os.truncate(path, 10)
    report = await session.run("context.count('nowhere')")
    assert report.status == "kernel_died"
    assert report.lost is not None
    assert report.lost.reason == (
        f"its process was ended by SIGBUS (the context's file was truncated to 10 bytes; it had {len(TEXT):,} when "
        "it was mapped)"
    )
    assert "changed" in dict(report.lost.names)["context"]
    assert (await session.ok("1 + 1")).result == "2"


async def test_a_context_whose_file_was_cut_off_is_loaded_again_as_it_is_now(registry: Registry, on_disk: Path) -> None:
    """Named among what was lost, with both lengths, and in each step from then on; a later loss changes nothing."""
    path = file_of(on_disk, "shorter", TEXT.encode())
    session, _ = await opened(registry, path)
    await session.ok("x = context")
    await settle(session)
    os.truncate(path, len(LINE) * 3)
    report = await session.run("context.count('nowhere')")
    assert report.lost is not None
    assert dict(report.lost.names) == {
        "context": f"its file has changed: it was cut off from {len(TEXT):,} to {3 * len(LINE)} bytes, and the context "
        "was loaded again as it is now"
    }
    assert {"documents", "x"} <= set(report.lost.restored)
    assert "context" not in report.lost.restored
    again = await session.ok(f"x is context, context == 3 * {LINE!r}, len(documents['shorter'])")
    assert again.result == repr((True, True, 3 * len(LINE)))
    assert again.contexts_changed == ("context",)
    contexts = session.session.contexts
    told = contexts.report(contexts.contexts.first)
    assert isinstance(told, ContextReport)
    assert (told.changed, told.bytes, told.lines, told.held) == (True, 3 * len(LINE), 3, "memory")
    await lose_kernel(session)
    assert lost(await session.run("1")) == {}
    assert (await session.ok("context")).contexts_changed == ("context",)


async def test_a_file_that_is_written_over_while_it_is_mapped_is_told(registry: Registry, on_disk: Path) -> None:
    """The text changes under the session, which nothing can keep from it; each report says so, and a loss has it so."""
    path = file_of(on_disk, "over", TEXT.encode())
    session, _ = await opened(registry, path)
    with path.open("r+b") as file:
        file.write(b"2027")
    report = await session.ok("context[:4]")
    assert (report.result, report.contexts_changed) == ("'2027'", ("context",))
    contexts = session.session.contexts
    told = contexts.report(contexts.contexts.first)
    assert isinstance(told, ContextReport)
    assert told.changed
    await lose_kernel(session)
    assert lost(await session.run("1")) == {
        "context": f"its file has changed: it was written to and has {len(TEXT):,} bytes, where it had {len(TEXT):,}, "
        "and the context was loaded again as it is now"
    }
    assert ((await session.ok("context[:4]")).result, session.kernel.mapped[0].byte_count) == ("'2027'", len(TEXT))
    await lose_kernel(session)
    assert lost(await session.run("1")) == {}


async def test_bytes_that_no_ascii_has_end_the_kernel_and_the_text_is_read_as_what_it_is(
    registry: Registry, on_disk: Path
) -> None:
    """Python trusts a text that is marked ASCII; the loss says what was done to it, and the next step has it."""
    path = file_of(on_disk, "lying", TEXT.encode())
    session, _ = await opened(registry, path)
    with path.open("r+b") as file:
        file.write(b"\xff" * 1_000)
    report = await session.run("for character in context[:1_000]: str(character) + character.upper()")
    if report.status == "kernel_died":  # what C finds beside its tables differs
        assert report.lost is not None
        assert "the context's file was written to while it was mapped" in report.lost.reason
    else:
        await lose_kernel(session)
        report = await session.run("1")
    assert "it was written to" in lost(report)["context"]
    assert (await session.ok("context[:2], context.isascii()")).result == repr(("\udcff\udcff", False))


@pytest.mark.parametrize("fate", ["replaced", "deleted"])
async def test_a_file_of_another_name_stays_the_text_until_its_kernel_is_lost(
    registry: Registry, on_disk: Path, fate: str
) -> None:
    """A kernel has the file and not its name; what is found by the name afterwards is no text of this session."""
    path = file_of(on_disk, fate, TEXT.encode())
    session, _ = await opened(registry, path)
    if fate == "replaced":
        file_of(on_disk, "new", b"another" * len(TEXT)).rename(path)
    else:
        path.unlink()
    report = await session.ok("context.count('\\n'), context[-5:]")
    assert (report.result, report.contexts_changed) == (repr((TEXT.count("\n"), TEXT[-5:])), ("context",))
    await lose_kernel(session)
    report = await session.run("1")
    assert (report.result, set(lost(report))) == ("1", {"context", "documents"})
    assert "changed since" in lost(report)["context"] or "does not exist" in lost(report)["context"]


async def test_all_of_it_holds_without_namespaces(tmp_path: Path, on_disk: Path) -> None:
    """Tier `lock`: the window is there, and the end by SIGBUS is seen without a monitor between."""
    path = file_of(on_disk, "tier", TEXT.encode())
    walls = {"required": ["rlimits", "landlock", "seccomp"], "wanted": []}
    async with open_registry(tmp_path, policy=SMALL | {"walls": walls}, RLM_CONTEXT_ROOTS=str(on_disk)) as locked:
        session, context = await opened(locked, path)
        assert context.held == "mapped"
        assert (await session.ok("context.count('ERROR')")).result == str(TEXT.count("ERROR"))
        os.truncate(path, 10)
        report = await session.run("context.count('nowhere')")
        assert report.lost is not None
        assert "truncated to 10 bytes" in report.lost.reason


async def test_a_step_may_not_import_what_made_the_text(registry: Registry, on_disk: Path) -> None:
    """The allowlist is what it was."""
    session, _ = await opened(registry, file_of(on_disk, "walled", TEXT.encode()))
    error = (await session.run("import ctypes")).error
    assert error is not None
    assert error.ename == "ImportRefused"


async def test_the_host_keeps_nothing_open_of_a_kernel_that_has_ended(registry: Registry, on_disk: Path) -> None:
    """The descriptor by which it would see a truncation goes with the kernel."""
    session, _ = await opened(registry, file_of(on_disk, "shut", TEXT.encode()))
    (held,) = session.kernel.mapped
    assert held.descriptor >= 0
    await session.finalize(text="done")
    assert held.descriptor == -1


@pytest.mark.parametrize(("decoded", "held"), [(True, "memory"), (False, None)], ids=["it fits", "it does not"])
async def test_a_kernel_that_cannot_map_decodes_where_there_is_room_and_says_so(
    tmp_path: Path, on_disk: Path, decoded: bool, held: str | None
) -> None:
    """Without Landlock and seccomp there is no window, since nothing would close it."""
    path = file_of(on_disk, "wide", TEXT.encode() if decoded else b"x" * (100 * MB))
    policy = SMALL | {"walls": {"required": [], "wanted": ["rlimits", "no_new_privs"]}}
    async with open_registry(tmp_path, policy=policy, RLM_CONTEXT_ROOTS=str(on_disk)) as unwalled:
        if held is not None:
            _, context = await opened(unwalled, path)
            assert context.held == held
            return
        with pytest.raises(ContextTooLarge) as refused:
            await opened(unwalled, path)
    assert "this kernel cannot map it" in refused.value.message
    assert "80,530,636 bytes" in refused.value.message
