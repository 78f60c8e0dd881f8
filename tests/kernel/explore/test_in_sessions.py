"""The exploring functions in a session's own kernel, behind its walls: the same whatever holds the text."""

from __future__ import annotations

import re
import subprocess
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from rlm_kernel_mcp.session.context_reports import ContextReport
from rlm_kernel_mcp.session.contexts.given import Given, Options
from rlm_kernel_mcp.session.registry import Registry
from tests.kernel.on_disk import directory_on_disk
from tests.losses import lose_kernel
from tests.sessions import AMPLE, SessionDriver, lent, open_registry

pytestmark = pytest.mark.anyio

MB = 1 << 20
POLICY = {"limits": {"memory_mb": 256}, "context": {"in_memory_mb": 1, "mapped_max_gb": 1}}
LINE = "2026-11-28 ERROR customer {} waited for 31 ms at the counter\r\n"
ODD = "no line feed at the end: \x0b \x1c caf\xe9 ERROR"


ODD_BYTES = (
    b"one\r\ntwo needle\x0btail\nthree\x1cx\nf\xc3\xb6ur needle\rfive needle\nsix\xe2\x80\xa8needle \xf0\x9f\x9a\x80 "
    b"needle\nbad\xff needle\x02z\nlast needle"
)


def grep(word: str, path: Path) -> str:
    """Each match with its line and its byte."""
    argv = ["grep", "-nabo", word, str(path)]
    return subprocess.run(argv, capture_output=True, check=True, env={"LC_ALL": "C"}).stdout.decode("latin-1")


def text_of(last: str, size: int) -> str:
    """About so many characters of log lines, and a last line without an end."""
    lines = [LINE.format(number) for number in range(size // len(LINE))]
    return "".join(lines) + last


@pytest.fixture(scope="module")
def on_disk() -> Iterator[Path]:
    """What the module's registry may load from."""
    with directory_on_disk() as made:
        yield made


@pytest.fixture(scope="module")
async def own_registry(tmp_path_factory: pytest.TempPathFactory, on_disk: Path) -> AsyncIterator[Registry]:
    """A registry that maps what is above 1 MB."""
    state = tmp_path_factory.mktemp("state")
    async with open_registry(state, policy=POLICY, RLM_CONTEXT_ROOTS=str(on_disk)) as opened:
        yield opened


@pytest.fixture
async def registry(own_registry: Registry) -> AsyncIterator[Registry]:
    """The module's registry, for one test."""
    async with lent(own_registry) as mine:
        yield mine


async def opened(registry: Registry, *paths: Path) -> tuple[SessionDriver, ContextReport]:
    """A session over files, and what its client is told of them."""
    report = await registry.init_context(context_text=None, context_paths=[str(path) for path in paths], limits=AMPLE)
    assert isinstance(report.context, ContextReport)
    return SessionDriver(registry, report.session_id), report.context


async def value(session: SessionDriver, expression: str) -> str | None:
    """What a step makes of an expression."""
    return (await session.ok(expression)).result


HAS_UTF8 = "span(0, 1)._source.subject._utf8 is not None"
"""Before any search: it is where the text is, and was not made."""
# Made by the test that needs it: every worker collects every case.
CASES: list[Any] = [
    pytest.param("memory", lambda: text_of("ERROR at the end", 100_000).encode(), "utf-8", id="memory"),
    pytest.param("memory", lambda: text_of(ODD + "\U0001f680", 100_000).encode(), "utf-8", id="memory, not ASCII"),
    pytest.param("memory", lambda: text_of(ODD, 100_000).encode("utf-16"), "utf-16", id="memory, UTF-16"),
    pytest.param("mapped", lambda: text_of("ERROR", 2 * MB).encode(), "utf-8", id="mapped"),
    pytest.param(
        "mapped",
        lambda: text_of(ODD, 2 * MB).replace("counter", "G\xf6\xdfe").encode("latin-1"),
        "latin-1",
        id="mapped, latin-1",
    ),
    pytest.param(
        "spooled",
        lambda: text_of(ODD + "\u4e2d", 9 * MB).encode(),
        "utf-8",
        id="spooled, UCS-2",
        marks=pytest.mark.slow,
    ),
    pytest.param("spooled", lambda: text_of(ODD + "\U0001f680", 9 * MB).encode(), "utf-8", id="spooled, UCS-4"),
    pytest.param(
        "spooled",
        lambda: text_of(ODD + "\U0001f680", 9 * MB).encode("utf-8-sig"),
        "utf-8-sig",
        id="spooled, with a mark",
        marks=pytest.mark.slow,
    ),
    pytest.param(
        "spooled", lambda: text_of(ODD + "\U0001f680", 5 * MB).encode("utf-16"), "utf-16", id="spooled, UTF-16"
    ),
]


@pytest.mark.parametrize(("held", "data_of", "codec"), CASES)
async def test_the_same_is_found_at_the_same_places_however_the_text_is_held(
    registry: Registry, on_disk: Path, held: str, data_of: Callable[[], bytes], codec: str
) -> None:
    """Characters, lines and bytes of the file, against a plain search of the decoded text."""
    data = data_of()
    text = data.decode(codec)
    (on_disk / "one.log").write_bytes(data)
    session, context = await opened(registry, on_disk / "one.log")
    assert context.held == held
    wanted = [match.span() for match in re.finditer("ERROR", text)]
    place = wanted[-1][0]
    mark = {"utf-16": b"\xff\xfe", "utf-8-sig": b"\xef\xbb\xbf"}.get(codec, b"")
    byte = len(mark) + len(text[:place].encode(codec).removeprefix(mark))
    line = text.count("\n", 0, place) + 1
    assert await value(session, HAS_UTF8) == str(held == "spooled" and codec.startswith("utf-8"))
    await session.ok("hits = search('ERROR', limit=None); last = hits[-1]")
    assert await value(session, "len(hits), hits.total, hits.more, hits.engine") == repr(
        (len(wanted), len(wanted), False, "ahocorasick")
    )
    assert await value(session, "last.start, last.end, last.line, last.bytes[0], last.text, last.doc") == repr(
        (*wanted[-1], line, byte, "ERROR", "one.log")
    )
    assert await value(session, "[(h.start, h.end) for h in hits[:4]]") == repr(wanted[:4])
    assert await value(session, r"count(r'customer \d+7 ', regex=True)['one.log']") == str(
        len(re.findall(r"customer \d+7 ", text))
    )
    assert await value(session, "lines(-1).text == context[context.rfind('\\n') + 1:], lines(-1).line") == repr(
        (True, line)
    )
    assert await value(session, f"span({place}, {place} + 5).text, lines({line}).text[-5:]") == repr(
        ("ERROR", text[-5:])
    )


async def test_line_numbers_are_those_of_grep(registry: Registry, on_disk: Path) -> None:
    """A lone carriage return, a form feed or a separator of Unicode ends no line; bytes that do not decode are kept."""
    (on_disk / "odd.txt").write_bytes(ODD_BYTES)
    said = grep("needle", on_disk / "odd.txt")
    wanted = [tuple(map(int, line.split(":")[:2])) for line in said.splitlines()]
    session, _ = await opened(registry, on_disk / "odd.txt")
    assert await value(session, "[(h.line, h.bytes[0]) for h in search('needle')]") == repr(wanted)
    assert await value(
        session, "[(h.line, h.bytes[0]) for h in search('NEED?LE', regex=True, ignore_case=True)]"
    ) == repr(wanted)


async def test_documents_and_added_contexts_are_searched_together_and_by_name(
    registry: Registry, on_disk: Path
) -> None:
    """`docs` takes a document, a context, a pattern; a place is that of its own context."""
    for name, data in (("a.log", b"x needle"), ("b.log", b"needle\nneedle\n"), ("c.txt", b"none\n")):
        (on_disk / name).write_bytes(data)
    session, _ = await opened(registry, on_disk / "a.log", on_disk / "b.log", on_disk / "c.txt")
    await registry.add_context(session.session_id, Given(text="the\nneedle here"), Options("more"))
    assert await value(session, "[(h.doc, h.line, h.start) for h in search('needle')]") == repr(
        [("a.log", 1, 2), ("b.log", 1, 8), ("b.log", 2, 15), ("more", 2, 4)]
    )
    assert await value(session, "count('needle', docs='*.log'), len(search('needle', docs='more'))") == repr(
        ({"b.log": 2, "a.log": 1}, 1)
    ).replace("{", "3 in 2: {")
    assert (
        await value(session, "more[slice(*(lambda h: (h.start, h.end))(search('needle', docs='more')[0]))]")
        == "'needle'"
    )
    failed = await session.run("search('needle', docs='b.lok')")
    assert failed.error is not None
    assert "the nearest: 'b.log'" in failed.error.evalue


async def test_what_was_found_is_there_again_after_a_kernel_s_death(registry: Registry, on_disk: Path) -> None:
    """Hits and spans are kept as places; the text is the fresh kernel's."""
    (on_disk / "one.log").write_bytes(text_of("ERROR", 2 * MB).encode())
    session, _ = await opened(registry, on_disk / "one.log")
    before = await value(session, "hits = search('ERROR'); first = hits[0]; (len(hits), first.line, hits[-1].text)")
    await session.ok(r"numbered = search(r'customer (\d+)', regex=True)")
    await lose_kernel(session)
    assert await value(session, "[hit.groups for hit in numbered[:2]]") == "[('0',), ('1',)]"
    assert await value(session, "(len(hits), first.line, hits[-1].text)") == before
    assert await value(session, "lines(1) == lines(1), len(search('ERROR', limit=3))") == "(True, 3)"


async def test_a_search_of_a_text_that_takes_long_is_interrupted(registry: Registry, on_disk: Path) -> None:
    """A pattern that has to see all of a document runs elsewhere; the step ends at the interrupt."""
    (on_disk / "long.log").write_bytes(b"x" * (64 * MB))
    session, _ = await opened(registry, on_disk / "long.log")
    step = await session.begin(r"while True: search(r'(?s)x.*y(x+x+)+y', regex=True)")
    await session.registry.interrupt(session.session_id)
    report = await session.end_of(step.step_index)
    assert report.status == "interrupted"
    assert await value(session, "len(search('x', limit=7))") == "7"


USES: dict[str, tuple[str, str]] = {
    "look": ("look().kind, look('a.log').lines", "('documents', 3)"),
    "search": (r"[(h.doc, h.line) for h in search(r'\bneedle\b', regex=True)]", "[('a.log', 2), ('b.md', 4)]"),
    "count": ("count('needle').total", "2"),
    "lines": ("lines(2, doc='a.log').text", r"'needle 1\n'"),
    "span": ("span(0, 3).text", "'one'"),
    "chunks": ("[c.line for c in chunks(30, by='headings', docs='b.md')]", "[1, 3]"),
    "rank": ("rank('needle heading', k=1)[0].doc", "'b.md'"),
    "records": ("[r['k'] for r in records('c.jsonl')]", "[1, 2]"),
    "tree": ("[row[0] for row in tree()]", "['a.log', 'b.md', 'c.jsonl']"),
    "cite": ("f'as {cite(search(\"needle\")[0])} says'", "'as [c1] says'"),
    "quote": ("quote('needle  1 three').line, quote('needle 4 three')", "(2, None)"),
}


@pytest.fixture(params=[{}, {"walls": {"wanted": []}}, {"imports": {"mode": "any"}}], ids=["ns", "lock", "any"])
async def walled(request: pytest.FixtureRequest, tmp_path: Path, on_disk: Path) -> AsyncIterator[SessionDriver]:
    """A session over three files: with namespaces where this machine has them, without, and with any import."""
    for name, data in (
        ("a.log", "one\nneedle 1\nthree\n"),
        ("b.md", "# Title\n\n## A heading\nthe needle\n"),
        ("c.jsonl", '{"k": 1}\n{"k": 2}\n'),
    ):
        (on_disk / name).write_text(data)
    async with open_registry(tmp_path, policy=request.param, RLM_CONTEXT_ROOTS=str(on_disk)) as registry:
        session, _ = await opened(registry, *(on_disk / name for name in ("a.log", "b.md", "c.jsonl")))
        yield session


async def test_each_function_works_behind_the_walls(walled: SessionDriver) -> None:
    """Whatever it needs was there before they rose; `help` has it all, and the session's own list of names none."""
    assert {name: await value(walled, code) for name, (code, _) in USES.items()} == {
        name: said for name, (_, said) in USES.items()
    }
    assert "ignore_case: in any case" in (await walled.ok("help(search)")).stdout
    assert "search" not in (await walled.ok("mine = 1\n%whos")).stdout


async def test_a_name_that_a_step_binds_is_the_steps_own(walled: SessionDriver) -> None:
    """`lines = ...` is what models write; the other functions go on as they were."""
    assert await value(walled, "lines = context.splitlines(); len(lines), search('needle')[0].line") == "(9, 2)"
    failed = await walled.run("lines(2)")
    assert failed.error is not None
    assert "`del lines` gives the function back" in failed.error.traceback + failed.error.evalue
    assert await value(walled, "del lines; lines(2).text") == r"'needle 1\n'"
    failed = await walled.run("search('needle', 'a.log')")
    assert failed.error is not None
    assert "It is search(pattern, *, regex=False, ignore_case=False, docs=None, start=0, limit=1000)." in (
        failed.error.traceback + failed.error.evalue
    )
    failed = await walled.run("lines('a.log', 2)")
    assert failed.error is not None
    assert "the document comes behind them: lines(3, 9, doc)" in failed.error.evalue


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("grep", "search(pattern, regex=True) finds every place"),
        ("peek", "look() says what the text is"),
        ("find_all", "search(pattern, regex=True)"),
        ("ctx", "The loaded text is `context`"),
        ("FINAL", "rlm_finalize"),
        ("chunk_text", "chunks(8000"),
        ("semantic_search", "rank("),
        ("serach", "Did you mean search?"),
    ],
)
async def test_a_peer_s_name_is_answered_with_ours(registry: Registry, name: str, said: str) -> None:
    """A NameError says what does it here."""
    session = await SessionDriver.open(registry)
    failed = await session.run(f"{name}('x')")
    assert failed.error is not None
    assert failed.error.ename == "NameError"
    assert said in failed.error.traceback + failed.error.evalue


async def test_without_a_text_the_functions_say_what_to_do(registry: Registry) -> None:
    """A text that a step binds to the name of the context is looked in."""
    session = await SessionDriver.open(registry)
    failed = await session.run("search('')")
    assert failed.error is not None
    assert failed.error.ename == "ValueError"
