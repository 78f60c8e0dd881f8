"""A session has several contexts by name: given at its beginning, added between its steps, there again after a loss."""

from __future__ import annotations

import json
import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from rlm_kernel_mcp.context.held import Room
from rlm_kernel_mcp.context_wire import EXPLORING
from rlm_kernel_mcp.errors import (
    ContextDenied,
    ContextTooLarge,
    InvalidInput,
    SessionBusy,
    SessionFinalized,
)
from rlm_kernel_mcp.questions_wire import ASKING
from rlm_kernel_mcp.session.context_reports import ContextReport
from rlm_kernel_mcp.session.contexts.given import Given, Options
from rlm_kernel_mcp.session.contexts.means import Means
from rlm_kernel_mcp.session.contexts.source import ContextSource
from rlm_kernel_mcp.session.kernels.context_loading import load_context
from rlm_kernel_mcp.session.registry import Registry
from rlm_kernel_mcp.session.reports import Guardrails
from rlm_kernel_mcp.settings import load_settings
from rlm_kernel_mcp.wire import SNAPSHOT
from tests.kernel.contexts.conftest import row_of
from tests.losses import lost, restored, settle
from tests.sessions import AMPLE, SessionDriver, open_registry, until

pytestmark = pytest.mark.anyio
FOREVER = "while True: pass"


@pytest.fixture(scope="module")
async def in_memory_registry(tmp_path_factory: pytest.TempPathFactory, roots: Path) -> AsyncIterator[Registry]:
    """One that maps nothing, with the least memory: 64 MB for a session."""
    in_memory = {"context": {"mapped_max_gb": 0}, "pool": {"spare_kernels": 0}}
    limits = {"RLM_MEMORY_LIMIT_MB": "64", "RLM_CONTEXT_ROOTS": str(roots)}
    async with open_registry(tmp_path_factory.mktemp("state"), policy=in_memory, **limits) as opened:
        yield opened


async def add(session: SessionDriver, name: str, **given: Any) -> ContextReport:
    """Add a context; it is there at once."""
    added = await session.registry.add_context(session.session_id, Given(**given), Options(name))
    assert isinstance(added.context, ContextReport)
    assert list(added.namespace) == [name]
    return added.context


def means(root: Path) -> Means:
    """What reads files below a directory."""
    return Means(load_settings(Path.cwd(), {"RLM_CONTEXT_ROOTS": str(root)}), Room(1 << 20))


async def value(session: SessionDriver, expression: str) -> str | None:
    """What a step makes of an expression."""
    return (await session.ok(expression)).result


async def test_the_first_context_has_the_name_that_it_was_given_and_no_other(registry: Registry) -> None:
    """`namespace` says it, and a step that asks for `context` is told the name."""
    opened = await registry.init_context(
        context_text="the text", context_paths=None, limits=AMPLE, options=Options("story")
    )
    session = SessionDriver(registry, opened.session_id)
    assert isinstance(opened.context, ContextReport)
    assert (opened.context.name, opened.context.state) == ("story", "ready")
    assert list(opened.namespace) == ["story", "documents", "scratch", *EXPLORING, *ASKING]
    assert await value(session, "story, list(documents), documents['story']") == "('the text', ['story'], 'the text')"
    failed = await session.run("context")
    assert failed.error is not None
    assert "The text is called story in this session." in failed.error.traceback + failed.error.evalue


@pytest.mark.parametrize("name", ["documents", "search", "scratch", "len", "_x", "In", "x" * 65])
async def test_a_name_that_means_something_else_is_refused(session: SessionDriver, name: str) -> None:
    """At the beginning, and later."""
    with pytest.raises(InvalidInput, match=r"^context_name "):
        await session.registry.init_context(context_text="x", context_paths=None, limits=AMPLE, options=Options(name))
    with pytest.raises(InvalidInput, match=r"^name "):
        await add(session, name, text="x")


async def test_a_name_that_is_bound_is_refused_and_nothing_has_changed(session: SessionDriver) -> None:
    """A context's, and a variable's; one that a step has unbound is free."""
    await session.ok("mine = 1")
    for taken in ("context", "mine"):
        with pytest.raises(InvalidInput, match=f"'{taken}'"):
            await add(session, taken, text="x")
    assert await value(session, "mine, context, list(documents)") == "(1, 'some text', ['context'])"
    await session.ok("del mine")
    await add(session, "mine", text="x")
    with pytest.raises(InvalidInput, match="has a context 'mine' already"):
        await add(session, "mine", text="y")


async def test_a_text_paths_and_json_come_between_steps_and_cost_nothing(session: SessionDriver) -> None:
    """Each under its name, and below the roots alone."""
    before = session.session.counters
    text = await add(session, "more", text="a lone \ud800 and é")
    assert (text.name, text.kind, text.chars, text.documents[0].name) == ("more", "text", 14, "more")
    parsed = await add(session, "data", json_text='{"a": [1, 2.5, null], "é": "\\ud83d\\ude00"}')
    assert (parsed.kind, parsed.documents, parsed.document_count) == ("json", (), 0)
    assert session.session.counters == before
    assert await value(session, "data") == "{'a': [1, 2.5, None], 'é': '😀'}"
    assert await value(session, "more == documents['more'] == 'a lone \\ud800 and é'") == "True"
    actions = [(event.action, event.summary) for event in await session.trace("summary")]
    assert ("add_context", "more: text of 14 characters in 1 document") in actions
    assert ("add_context", f"data: json of {parsed.chars} characters") in actions
    with pytest.raises(ContextDenied):
        await add(session, "files", paths=("/etc/hostname",))


async def test_documents_of_a_context_that_was_added_have_its_name_before_theirs(
    mapping_registry: Registry, directory: Path
) -> None:
    """`span` and `at` are of its own text."""
    for name in ("a.txt", "b.txt"):
        (directory / name).write_text(f"of {name}\n")
    session = await SessionDriver.open(mapping_registry)
    report = await add(session, "files", paths=(str(directory / "*.txt"),))
    names = [document.name for document in report.documents]
    assert all(name.startswith("files/") for name in names)
    assert report.document_count == 2
    assert await value(session, "list(documents)") == repr(["context", *names])
    assert await value(session, f"documents[{names[1]!r}], documents.span({names[1]!r})") == "('of b.txt\\n', (9, 18))"
    assert await value(session, "documents.at(10, 'files'), documents.at(3)") == f"(({names[1]!r}, 1), ('context', 3))"
    assert await value(session, "files") == "'of a.txt\\nof b.txt\\n'"


@pytest.mark.parametrize("text", ["{", "[" * 100_000, "1" * 5_000, "nul"], ids=["cut", "deep", "digits", "word"])
async def test_what_is_no_json_is_refused_and_the_name_stays_free(session: SessionDriver, text: str) -> None:
    """It is parsed in a loader, which says what is wrong with it; no kernel has seen it."""
    with pytest.raises(InvalidInput, match="json_text cannot be parsed as JSON"):
        await add(session, "data", json_text=text)
    assert (await session.run("data")).status == "error"
    await add(session, "data", json_text="[1]")
    assert await value(session, "data") == "[1]"


async def test_nothing_is_added_while_a_step_runs_or_after_the_answer_but_after_a_stop(registry: Registry) -> None:
    """The contract's errors."""
    session = await SessionDriver.open(registry, limits=Guardrails(2, 60_000, 10_000, 60_000))
    step = await session.begin(FOREVER)
    with pytest.raises(SessionBusy):
        await add(session, "more", text="x")
    await session.interrupt()
    await session.end_of(step.step_index)
    assert (await session.ok("1")).guardrail_stop == "max_steps"
    await add(session, "more", text="x")
    assert await session.value("more") == "x"
    await session.finalize(text="done")
    with pytest.raises(SessionFinalized):
        await add(session, "another", text="x")


async def test_the_limit_is_of_all_contexts_together(in_memory_registry: Registry) -> None:
    """What the others take is said."""
    session = await SessionDriver.open(in_memory_registry, "x" * (20 << 20))
    with pytest.raises(ContextTooLarge, match="other contexts take 20,971,520 bytes"):
        await add(session, "more", text="y" * (19 << 20))
    await add(session, "more", text="y")
    assert await value(session, "len(context), more") == f"({20 << 20}, 'y')"


async def test_contexts_that_load_at_the_same_time_have_one_limit(
    in_memory_registry: Registry, directory: Path
) -> None:
    """Each had room when its reading began. The next step says why one is not there."""
    for name in ("one", "other"):
        (directory / f"{name}.txt").write_text("x" * (20 << 20))
    session = await SessionDriver.open(in_memory_registry, "small")
    for name in ("one", "other"):
        given, options = Given(paths=(str(directory / f"{name}.txt"),)), Options(name, wait_ms=0)
        await in_memory_registry.add_context(session.session_id, given, options)
    with pytest.raises(ContextTooLarge, match="other contexts take 20,971,525 bytes"):
        await session.run("1")
    assert await value(session, "[name for name in ('one', 'other') if name in globals()]") in ("['one']", "['other']")


async def test_what_the_others_take_is_what_their_characters_take(in_memory_registry: Registry) -> None:
    """One character beyond latin-1 makes two bytes of each: 10 MB in the call are 20 in memory."""
    session = await SessionDriver.open(in_memory_registry, "Ж" + "x" * ((10 << 20) - 1))
    with pytest.raises(ContextTooLarge, match="other contexts take 20,971,520 bytes"):
        await add(session, "more", text="y" * (19 << 20))
    await add(session, "more", text="y" * (17 << 20))
    assert await value(session, "len(context), len(more), len(bytearray(1 << 20))") == str(
        (10 << 20, 17 << 20, 1 << 20)
    )


async def test_contexts_are_there_again_after_a_kernel_s_death_and_in_another_server(tmp_path: Path) -> None:
    """`del` loses none of them, a second name for one is a reference, and JSON is as steps left it."""
    (tmp_path / "a.txt").write_text("of a\n")
    kept = {"snapshots": {"name_mb": 1}}
    async with open_registry(tmp_path / "state", policy=kept, RLM_CONTEXT_ROOTS=str(tmp_path)) as registry:
        opened = await registry.init_context(
            context_text="first", context_paths=None, limits=AMPLE, options=Options("story")
        )
        session = SessionDriver(registry, opened.session_id)
        large = "z" * (2 << 20)  # more than a snapshot keeps of one name
        await add(session, "big", text=large)
        await add(session, "files", paths=(str(tmp_path / "a.txt"),))
        await add(session, "data", json_text=json.dumps({"a": 1}))
        await session.ok("x = big; y = (story, files); data['a'] = 2; del files, story")
        await settle(session)
        await session.kernel.kill("the test's wish")
        report = await session.ok("x is big, y == (story, files), files, data, list(documents)")
        assert report.result == "(True, True, 'of a\\n', {'a': 2}, ['story', 'big', 'files/a.txt'])"
        assert lost(report) == {}
        assert restored(report) == {"x", "y", "data", "big", "files", "story", "documents", "scratch"}
    async with open_registry(tmp_path / "state", RLM_CONTEXT_ROOTS=str(tmp_path)) as registry:
        session = SessionDriver(registry, opened.session_id)
        report = await session.ok("x is big, len(big), y == (story, files), files, data")
        assert report.result == f"(True, {2 << 20}, True, 'of a\\n', {{'a': 2}})"
        assert lost(report) == {}


async def test_what_steps_changed_in_a_large_json_context_is_told_as_lost(session: SessionDriver) -> None:
    """It comes back as it was given, since it is not copied after each step."""
    await add(session, "data", json_text=json.dumps({"a": "z" * (5 << 20), "b": 1}))
    await session.ok("data['b'] = 2")
    await settle(session)
    await session.kernel.kill("the test's wish")
    report = await session.ok("data['b']")
    assert report.result == "1"
    assert lost(report) == {
        "data": "it is there again, as it was given; what steps have changed in it since, if anything, is not kept"
    }


async def test_a_context_whose_file_has_changed_is_told_as_lost_alone(
    mapping_registry: Registry, directory: Path
) -> None:
    """The others are there."""
    path = directory / "a.txt"
    path.write_text("of a\n")
    session = await SessionDriver.open(mapping_registry)
    await add(session, "files", paths=(str(path),))
    assert (await session.ok("1")).contexts_changed == ()
    path.write_text("another\n")
    changed = await session.ok("2")
    assert changed.contexts_changed == ("files",)
    session.session.journal.forget()
    assert (await session.end_of(changed.step_index)).contexts_changed == ("files",)
    assert (await session.ok("3")).contexts_changed == ("files",)
    steps = [event for event in await session.trace() if event.action == "run_repl"]
    assert [event.contexts_changed for event in steps] == [(), ("files",), ("files",)]
    await settle(session)
    await session.kernel.kill("the test's wish")
    report = await session.ok("context")
    assert set(lost(report)) == {"files"}
    assert "have changed" in lost(report)["files"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('["\\ud800", "\ud800"]', ["\ud800", "\ud800"]),
        ('{"a": 1, "a": 2}', {"a": 2}),
        ("1e400", float("inf")),
        ("1" * 4_300, int("1" * 4_300)),
        ("[" * 900 + "]" * 900, None),
        ('["\\u0000", "\U0001f600", 0.1, -0.0, 12345678901234567890123, true, null, {"": []}]', None),
    ],
    ids=["surrogates", "same key", "infinite", "digits", "deep", "kinds"],
)
async def test_a_json_text_comes_as_python_s_own_parser_has_it(
    session: SessionDriver, text: str, expected: object
) -> None:
    """A loader has parsed it: the kernel gets the value, which is the parser's."""
    report = await add(session, "data", json_text=text)
    assert report.chars == len(text)
    assert report.head == text[:400].replace("\ud800", "\\ud800") or expected is None
    assert json.loads(text) == expected or expected is None
    assert await value(session, f"__import__('json').loads({text!r}) == data") == "True"


@pytest.mark.slow
async def test_a_json_text_whose_value_is_too_large_is_refused_by_its_numbers(tmp_path: Path) -> None:
    """In the loader, which may need more than a session has; in the kernel, which has to keep room for steps."""
    async with open_registry(tmp_path, RLM_MEMORY_LIMIT_MB="64") as registry:
        session = await SessionDriver.open(registry)
        with pytest.raises(ContextTooLarge, match=r"23,999,996 bytes, takes more memory than the 64 MB"):
            await add(session, "data", json_text="[" + '{"a":1},' * 2_999_999 + "{}]")
        with pytest.raises(ContextTooLarge, match=r"cannot hold the value of that JSON text"):
            await add(session, "data", json_text="[" + "1," * 9_999_999 + "1]")
        assert await value(session, "'data' in globals(), len(bytearray(1 << 24))") == f"(False, {1 << 24})"
        await add(session, "data", json_text="[1]")
        loaders = registry._shared.loaders
        assert loaders is not None
        spool = loaders.spool
        await until(lambda: spool.used_bytes == 0)


async def test_a_file_that_changed_is_told_in_the_list_of_sessions(mapping_registry: Registry, directory: Path) -> None:
    """Of the first context, without a step."""
    path = directory / "a.txt"
    path.write_text("of a\n")
    opened = await mapping_registry.init_context(context_text=None, context_paths=[str(path)], limits=AMPLE)
    assert (await row_of(mapping_registry, opened.session_id)).changed is False
    path.write_text("another\n")
    assert (await row_of(mapping_registry, opened.session_id)).changed is True


async def test_paths_lie_below_the_session_s_roots_and_the_caller_s(tmp_path: Path) -> None:
    """Whichever server adopts the session; what was loaded comes back by the roots that it was loaded with."""
    for name in ("both/a.txt", "first/b.txt", "second/c.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(name)
    roots = [f"{tmp_path}/both:{tmp_path}/{name}" for name in ("first", "second")]
    async with open_registry(tmp_path / "state", RLM_CONTEXT_ROOTS=roots[0]) as registry:
        session = await SessionDriver.open(registry)
        await add(session, "b", paths=(f"{tmp_path}/first/b.txt",))
    async with open_registry(tmp_path / "state", RLM_CONTEXT_ROOTS=roots[1]) as registry:
        session = SessionDriver(registry, session.session_id)
        await add(session, "a", paths=(f"{tmp_path}/both/a.txt",))
        for name in ("first/b.txt", "second/c.txt"):
            with pytest.raises(ContextDenied, match=rf"'{tmp_path}/{name}' is outside .*, which are '{tmp_path}/both'"):
                await add(session, "more", paths=(f"{tmp_path}/{name}",))
        report = await session.ok("a, b")
        assert (report.result, lost(report)) == ("('both/a.txt', 'first/b.txt')", {})
    async with open_registry(tmp_path / "state", RLM_CONTEXT_ROOTS=f"{tmp_path}/second") as registry:
        session = SessionDriver(registry, session.session_id)
        with pytest.raises(ContextDenied, match=rf"no directory in common: '{tmp_path}/both', '{tmp_path}/first'; "):
            await add(session, "c", paths=(f"{tmp_path}/second/c.txt",))
        assert await value(session, "a, b") == "('both/a.txt', 'first/b.txt')"


async def test_a_file_and_a_snapshot_s_pipe_do_not_change_places(session: SessionDriver, tmp_path: Path) -> None:
    """A pipe waits for its request while the kernel works on a value, and a context comes meanwhile by its thread."""
    (tmp_path / "a.txt").write_text("of a\n")
    await session.ok("value = list(range(1000))")
    await settle(session)
    source = await ContextSource.of(Given(paths=(str(tmp_path / "a.txt"),)), Options("files")).opened(means(tmp_path))
    reader, writer = os.pipe()
    try:
        session.kernel.pass_descriptor(writer, shell=True)
        os.close(writer)
        with source as payload:
            loaded = await load_context(session.kernel, payload, "files", add=True)
        assert (loaded["head"], await value(session, "files")) == ("of a\n", "'of a\\n'")
        reply = await session.kernel.client.request(SNAPSHOT, {"token": 10**6, "after": None}, shell=True)
        assert (reply.content["status"], len(os.read(reader, 10)) > 0) == ("ok", True)
    finally:
        os.close(reader)
