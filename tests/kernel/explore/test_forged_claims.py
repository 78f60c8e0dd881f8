"""A kernel that lies about what it cites: nothing is verified that is not in the bytes, and nobody else waits."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator
from typing import Any

import pytest

from rlm_kernel_mcp.errors import CitationMismatch, InvalidInput
from rlm_kernel_mcp.session.evidence.citations import Quote
from rlm_kernel_mcp.session.registry import Registry
from tests.sessions import AMPLE, SessionDriver, open_registry

pytestmark = [pytest.mark.anyio, pytest.mark.slow]

TEXT = "The first line of the source.\nThe second line of the source.\nThe third line of the source.\n"
SECRET = "What lies outside of the roots, or in another session."

FORGED = """
told = getattr(cite, "__glo" + "bals__")  # the courtesies are no wall
there = ["context", "a.txt", 0, 29, "", "invented"]
rows = [
    [1, *there],
    [2, "context", "../secret.txt", 0, 20, "", ""],
    [3, "context", "/etc/passwd", 0, 20, "", ""],
    [4, "theirs", "context", 0, 20, "", ""],
    [5, "context", "a.txt", -1, 5, "", ""],
    [6, "context", "a.txt", 80, 200, "", ""],
    [7, "context", "a.txt", True, 5, "", ""],
    [8, "context", "a.txt", 0, 2 ** 70, "", ""],
    [9, "context", "a.txt", 2 ** 52, 2 ** 52 + 9, "", ""],
    [10, "context" * 10 ** 3, "a.txt", 0, 5, "", ""],
    [11, "context", "\\ud800", 0, 5, "", ""],
    [12, "context", "a.txt", 5, 5, "", ""],
    [13, "context", "a.txt", 9, 3, "", ""],
    [14, "context", "a.txt", 0, 5, "zz", ""],
    [15, "context", "a.txt", 0.0, 5.5, "", ""],
    [16, *there], [16, "context", "a.txt", 30, 40, "", ""],
    [17, there], {"17": there}, None, [[[]]] * 9, "17",
    [2 ** 70, *there], [-3, *there], [0, *there], ["18", *there],
    [19, "context", "a.txt", 0, 29, "0" * 64, "x" * 10 ** 4],
]
explored = [["context", 10 ** 15, 3], 5]
told["take"] = lambda: {"claims": now, "functions": {"cite": -5, "rm": 9}, "explored": explored}
now, count_of_rows = [], len(rows)
"""
TOO_LARGE = "now = [[20, 'context' * 10 ** 7, 'a.txt', 0, 29, '', '']]"
LIARS = [
    "class Liar(type(lines(1))):\n    chars = (0, 29)\n    doc = context = '/etc/passwd'\n    text = 'root:x:0:0'",
    "class Liar(type(lines(1))):\n    chars = (-5, 10 ** 15)\n    text = 5",
    "class Liar(type(lines(1))):\n    chars = (0, float('nan'))\n    text = 'x' * 10 ** 7",
]


@pytest.fixture(scope="module")
async def registry(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Registry]:
    directory = tmp_path_factory.mktemp("forged")
    (directory / "root").mkdir()
    (directory / "root" / "a.txt").write_text(TEXT)
    (directory / "secret.txt").write_text(SECRET)
    async with open_registry(directory / "state", RLM_CONTEXT_ROOTS=str(directory / "root")) as opened:
        yield opened


async def opened(registry: Registry) -> SessionDriver:
    """A session over the file."""
    paths = [str(root / "a.txt") for root in registry.settings.context_roots]
    report = await registry.init_context(context_text=None, context_paths=paths, limits=AMPLE)
    return SessionDriver(registry, report.session_id)


async def statuses(session: SessionDriver, text: str, *quotes: str) -> dict[str, str]:
    """Of what does not pass."""
    with pytest.raises(CitationMismatch) as refused:
        await session.finalize(text=text, quotes=[Quote(one) for one in quotes])
    rows: list[dict[str, Any]] = refused.value.citations  # type: ignore[assignment]
    return {row["id"]: row["status"] for row in rows}


async def test_a_claim_that_is_made_up_is_missing_whatever_it_says(registry: Registry) -> None:
    """Other files, other sessions, numbers that are none; one that is a place in the bytes is what they are there."""
    other = await SessionDriver.open(registry, SECRET)
    session = await opened(registry)
    await session.ok(FORGED)
    for number in range(await session.value("count_of_rows")):  # what cannot be sent takes along what is beside it
        await session.run(f"now = rows[{number}:{number} + 1]")
    await session.run(TOO_LARGE)
    marks = " ".join(f"[c{number}]" for number in range(21))
    wrong = await statuses(session, f"{marks} [c{2**70}]", SECRET)
    passing = {"c1", "c19"}
    assert wrong.keys() == ({f"c{number}" for number in range(21)} | {f"c{str(2**70)[:18]}", "q1"}) - passing
    assert set(wrong.values()) == {"missing"}
    assert (await other.ok("context")).result == repr(SECRET)
    report = await session.finalize(text="It is so [c1], and so [c19].")
    assert report.citations is not None
    assert report.coverage is not None
    for one in report.citations:
        assert one.passage is not None
        assert one.passage.sha256 == hashlib.sha256(TEXT[:29].encode()).hexdigest()
        assert (one.passage.doc, one.passage.text) == ("a.txt", TEXT[:29])
    assert (report.coverage.searched, report.coverage.cited) == (len(TEXT), 29)


@pytest.mark.parametrize("liar", LIARS, ids=["another file", "no text", "no number"])
async def test_an_object_that_poses_as_a_place_cites_nothing_else(registry: Registry, liar: str) -> None:
    """Its step ends, whatever it says of itself, and the next one runs."""
    session = await opened(registry)
    await session.run(f"{liar}\nmade = cite(Liar(lines(1)._source, 0, 29))")
    assert (await session.run("1 + 1")).result == "2"
    wrong = await statuses(session, "[c1] [c2]", "root:x:0:0 and so on")
    assert wrong == {"c1": "missing", "c2": "missing", "q1": "missing"}


async def test_an_answer_of_nothing_but_marks_and_quotes_that_are_no_text_are_refused(registry: Registry) -> None:
    """Ten MB of marks, half characters, one letter again and again: each is an answer that can be mended."""
    session = await opened(registry)
    await session.ok("cite(lines(1)); one = '[c1]' * 900_000; many = ''.join(f'[c{n}]' for n in range(400_000))")
    with pytest.raises(InvalidInput, match="400,000 marks"):
        await session.finalize(var="many")
    with pytest.raises(InvalidInput, match="at most 4,000,000"):
        await session.finalize(text="[c1]" * 2_500_000)
    quotes = [
        "\ud800" * 40,
        "\udcff" * 20_000,
        "\0" * 500,
        " " * 20_000,
        "e" * 20_000,
        TEXT + "\udc80",
        "\n" + TEXT * 9,
    ]
    assert list(await statuses(session, "[c1]", *quotes)) == [f"q{number}" for number in range(1, len(quotes) + 1)]
    report = await session.finalize(var="one")
    assert [(one.id, one.status) for one in report.citations or ()] == [("c1", "verified")]
