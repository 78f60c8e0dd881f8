"""`session/opening.py`: what of a context is refused before a kernel is taken, and a record that cannot be begun."""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from mcp.types import TextContent

from rlm_kernel_mcp.both_sides.text_encoding import NUL
from rlm_kernel_mcp.context.documents import Document
from rlm_kernel_mcp.context.held import Room
from rlm_kernel_mcp.context.patterns.left_out import Skipped
from rlm_kernel_mcp.context.payload import Payload
from rlm_kernel_mcp.context.roots.open_roots import Roots
from rlm_kernel_mcp.context.sources import DOCUMENT_LIMIT
from rlm_kernel_mcp.context_wire import LoadContextReply
from rlm_kernel_mcp.errors import ContextTooLarge, InvalidInput
from rlm_kernel_mcp.questions_wire import ASKING
from rlm_kernel_mcp.server import responses
from rlm_kernel_mcp.server.markdown import notice
from rlm_kernel_mcp.session.contexts.given import Added, Options
from rlm_kernel_mcp.session.contexts.means import Kept, Means
from rlm_kernel_mcp.session.contexts.names import check_name
from rlm_kernel_mcp.session.contexts.source import ContextSource
from rlm_kernel_mcp.session.kernels.context_loading import context_report
from rlm_kernel_mcp.session.reports import Guardrails
from rlm_kernel_mcp.settings import load_settings
from rlm_kernel_mcp.store.paths import snapshot_files
from rlm_kernel_mcp.store.store import Store
from rlm_kernel_mcp.wire import DOCUMENTS_LISTED
from tests import fake_kernel
from tests.fake_kernel import Fakes


def test_more_documents_than_the_memory_has_room_for_are_refused_with_both_numbers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However little text they hold: a kernel needs a name and a place for each."""
    for number in range(30):
        (tmp_path / f"{number}.txt").write_text("x")
    variables = {"RLM_CONTEXT_ROOTS": str(tmp_path), "RLM_STATE_DIR": str(tmp_path), "RLM_MEMORY_LIMIT_MB": "64"}
    settings = load_settings(Path.cwd(), variables)
    source = ContextSource(paths=(str(tmp_path),))
    with source.open(Means(settings, Room(1 << 20))) as payload:
        assert len(payload.documents) == 30
    monkeypatch.setattr("rlm_kernel_mcp.session.contexts.source.DOCUMENT_BYTES", 500_000)
    with pytest.raises(ContextTooLarge) as refused:
        source.open(Means(settings, Room(1 << 20)))
    assert "30 documents, whose table takes about 15,000,1" in refused.value.message
    assert "the limit is 13,421,772 bytes" in refused.value.message


@pytest.mark.anyio
@pytest.mark.parametrize("where", ["add_session", "put_context"])
async def test_a_write_that_failed_before_the_loop_s_next_turn_ends_the_opening(
    fakes: Fakes, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    """A thread that is done at once: nothing is left to wait for, and its error is on its way to the loop."""

    def fail(*_: object) -> None:
        raise ZeroDivisionError

    def at_once(work: Callable[[str], None], session_id: str) -> None:
        work(session_id)

    monkeypatch.setattr(Store, where, fail)
    monkeypatch.setattr(fakes.registry._writer._threads, "submit", at_once)
    with pytest.raises(ZeroDivisionError):
        await fakes.open()
    assert fakes.registry._sessions == {}
    assert fakes.kernels[0].process.returncode is not None


@pytest.mark.anyio
async def test_a_new_session_is_opened_without_a_look_at_the_disk(
    fakes: Fakes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The event loop would wait for it. What lies where its values will be kept would be seen in it."""
    monkeypatch.setattr(secrets, "choice", lambda alphabet: "2")
    index = snapshot_files(fakes.registry.settings.state_dir, "s_22222222")[2]
    index.parent.mkdir(exist_ok=True)
    index.write_text(json.dumps({"file": 0, "step": 7, "more": 0, "entries": {}}))
    index.with_name(snapshot_files(fakes.registry.settings.state_dir, "s_22222222")[0].name).touch()
    session, _ = await fakes.open()
    assert session.session.kernel.recovery.snapshots.step == 0


def test_a_source_comes_back_from_its_reference_with_what_it_leaves_out(tmp_path: Path) -> None:
    """The same files under the same names, wherever the server runs that opens it again."""
    for name in ("a.txt", "sub/a.txt", "tests/b.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(name)
    variables = {"RLM_CONTEXT_ROOTS": str(tmp_path), "RLM_STATE_DIR": str(tmp_path)}
    there = replace(load_settings(Path.cwd(), variables), working_dir=tmp_path)
    source = ContextSource(paths=("sub", "."), exclude=("tests",))
    again = ContextSource.of_reference(json.loads(json.dumps(source.reference(there))))
    assert again == replace(source, working_dir=str(tmp_path), roots=Roots.named(tmp_path), home=there.home)
    inline = ContextSource("text")
    assert ContextSource.of_reference(inline.reference(there)) == replace(inline, text=None)
    room = Room(1 << 20)
    elsewhere = Means(
        load_settings(Path.cwd(), {"RLM_CONTEXT_ROOTS": str(tmp_path / "tests"), "RLM_STATE_DIR": str(tmp_path)}), room
    )
    with source.open(Means(there, room)) as first, again.open_again(elsewhere, Kept(first.sha256)) as second:
        assert [document.name for document in first.documents] == ["sub/a.txt", "a.txt"]
        assert second.documents == first.documents
        assert [document.path for document in second.documents] == [
            str(tmp_path / "sub/a.txt"),
            str(tmp_path / "a.txt"),
        ]


def test_long_names_of_documents_do_not_fill_the_answer(tmp_path: Path) -> None:
    """Whole names as far as 4,000 characters go, and a word that there are more."""
    directory = tmp_path.joinpath(*(letter * 200 for letter in "abcdef"))
    directory.mkdir(parents=True)
    for number in range(20):
        (directory / f"{number:02}").write_bytes(b"text " * 1_000 + b"\xff")
    settings = load_settings(Path.cwd(), {"RLM_CONTEXT_ROOTS": str(tmp_path)})
    with ContextSource(None, (str(tmp_path),)).open(Means(settings, Room(1 << 20))) as payload:
        reply: LoadContextReply = {
            "status": "ok",
            "chars": 100_020,
            "lines": 1,
            "head": "text",
            "tail": "",
            "documents": [5_001] * 20,
            "names": {},
        }
        report = context_report(payload, reply)
    assert [one.name[-2:] for one in report.documents] == ["00", "01", "02"]
    assert (report.document_count, report.undecodable_bytes, len(report.undecodable_in)) == (20, 20, 3)
    assert str(notice(report)).startswith("3 of the first 20 documents are named here")
    assert notice(replace(report, documents=report.documents[:2], document_count=2)) is None


def test_the_answer_is_as_short_for_200_000_documents_as_for_the_20_that_are_named() -> None:
    """Where each has bytes that do not decode and is to be warned of, and as many were left out: only numbers grow."""

    def written(count: int) -> Iterator[str]:
        documents = tuple(Document(f"{number:06}.txt", 99, "utf-8", 1, looks=NUL) for number in range(count))
        skipped = Skipped({"binary": count}, ["a.bin: binary"], {"binary": "a.bin: binary"})
        payload = Payload("documents", documents, 99 * count, "0" * 64, b"", None, skipped, "/home")
        loaded: LoadContextReply = {
            "status": "ok",
            "chars": 99 * count,
            "lines": count,
            "head": "x" * 400,
            "tail": "x" * 400,
            "documents": [99] * DOCUMENTS_LISTED,
            "names": {},
        }
        report = Added("s_22222222", context_report(payload, loaded), {})
        for answer in (responses.added(report, "json"), responses.added(report, "markdown")):
            (block,) = answer.content
            assert isinstance(block, TextContent)
            yield block.text

    assert DOCUMENT_LIMIT == 200_000
    for few, many in zip(written(DOCUMENTS_LISTED), written(DOCUMENT_LIMIT), strict=True):
        assert "200000" in many.replace(",", "")
        assert len(few) < len(many) < len(few) + 100


@pytest.mark.anyio
@pytest.mark.parametrize("name", ["budget", "llm_query"])
async def test_where_nobody_answers_a_context_may_have_the_name_of_a_function_that_asks(
    fakes: Fakes, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """As it could before there were any; what is told of the name is the context."""
    monkeypatch.setitem(fake_kernel.OFFERED, name, "the function")
    fakes.registry.handles._shared = replace(fakes.registry.handles._shared, switchboard=None)
    monkeypatch.setattr(fakes.registry, "_board", None)
    opened = await fakes.registry.init_context(
        context_text="text", context_paths=None, limits=Guardrails(), options=Options(name)
    )
    assert opened.namespace[name] == fake_kernel.OFFERED["context"]
    with pytest.raises(InvalidInput, match=r"a context 'budget' already|means nothing else"):
        check_name("name", name, [name] if name == "budget" else (), asking=ASKING if name == "llm_query" else ())


@pytest.mark.anyio
async def test_a_session_s_record_has_what_it_is_for_and_which_client_opened_it(tmp_path: Path) -> None:
    """Else no person knows what a run is for; it comes back with the session."""
    async with fake_kernel.fake_registry(tmp_path) as fakes:
        fakes.registry.own.client = "codex 1.2"
        opened = await fakes.registry.init_context(
            context_text="x", context_paths=None, limits=Guardrails(), options=Options(question="Which handlers?")
        )
        record = fakes.registry.store.session(opened.session_id)
        assert record is not None
        assert (record.question, record.client) == ("Which handlers?", "codex 1.2")
