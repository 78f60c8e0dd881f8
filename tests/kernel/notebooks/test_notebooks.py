"""A session's notebook runs again from top to bottom over the same sources, and says the same.

Each run is a cold start of a kernel, a second of a processor: the fast part has what every notebook needs.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Final

import pytest

from rlm_kernel_mcp.errors import KernelStartFailed
from rlm_kernel_mcp.notebook.form.names import HOW, KEY
from rlm_kernel_mcp.notebook.running.filling import NOT_THERE
from rlm_kernel_mcp.notebook.running.rerun import CellRun, Rerun, written
from rlm_kernel_mcp.session.answering.books import StoreBooks
from rlm_kernel_mcp.session.answering.switchboard import Ceilings
from rlm_kernel_mcp.session.boards.agents import AGENT, AgentBoard
from rlm_kernel_mcp.session.contexts.given import Given, Options
from rlm_kernel_mcp.session.parked.reports import AnswerGiven, Handed
from rlm_kernel_mcp.session.registry import Registry
from rlm_kernel_mcp.settings import load_settings
from tests.kernel.asking.conftest import answered_by
from tests.kernel.notebooks.conftest import again, differing, notebook_in
from tests.sessions import AMPLE, WAIT_S, SessionDriver, end_session, open_registry
from tests.specs import write_spec
from tests.unit.kernel.untrusted.shown.drawn import png
from tests.unit.notebook.schema import code_cells

pytestmark = pytest.mark.anyio
TEXT: Final = "alpha one\nbeta two\ngamma beta\n"
STEPS: Final = (
    "look()",
    "hits = search('beta', limit=None)\nhits",
    "print('out'); import sys; print('err', file=sys.stderr)\n{'a': [1, 2], 'b': None}",
    "def half(x):\n    return x / 0",
    "half(3)",
    "this is no Python",
    "import os",
    "[cite(hit) for hit in hits]",
    "undefined_name",
    "context[:5]; _",
)
"""Values, streams, exceptions over steps, refusals and hints, which have an agent's words."""


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with two logs."""
    made = tmp_path_factory.mktemp("sources")
    (made / "a.log").write_text("alpha\nbeta\n")
    (made / "b.log").write_text("beta gamma\n")
    return made


@pytest.fixture(scope="module")
async def reading(tmp_path_factory: pytest.TempPathFactory, sources: Path) -> AsyncIterator[Registry]:
    """A registry that may read them."""
    async with open_registry(tmp_path_factory.mktemp("state"), RLM_CONTEXT_ROOTS=str(sources)) as opened:
        yield opened


@pytest.fixture
async def logs(reading: Registry, sources: Path) -> AsyncIterator[SessionDriver]:
    """A session over both logs."""
    paths = [str(sources / "*.log")]
    async with asyncio.timeout(WAIT_S):
        opened = await reading.init_context(context_text=None, context_paths=paths, limits=AMPLE)
    made = SessionDriver(reading, opened.session_id)
    yield made
    await end_session(made)


async def test_what_a_session_over_a_text_said_is_said_again(registry: Registry, tmp_path: Path) -> None:
    """Without any file: the text is in the notebook."""
    session = await SessionDriver.open(registry, TEXT)
    for code in STEPS:
        await session.run(code)
    await session.finalize(text="beta stands in two lines")
    await notebook_in(tmp_path / "n.ipynb", session)
    runs = await again(tmp_path / "n.ipynb", tmp_path)
    assert len(runs) == len(STEPS) + 1
    assert differing(runs) == []
    assert [one.label for one in runs if one.why] == []


@pytest.mark.slow
async def test_sources_are_loaded_again_and_a_further_one_comes_with_its_cell(
    logs: SessionDriver, sources: Path, tmp_path: Path
) -> None:
    """Before that its name is not there, and nothing of it is found."""
    for code in ("list(documents), search('beta')", "'lib' in globals(), count('beta')"):
        await logs.ok(code)
    async with asyncio.timeout(WAIT_S):
        given = Given(paths=(str(sources / "a.log"),))
        await logs.registry.add_context(logs.session_id, given, Options(name="lib"))
    for code in ("lib, list(documents)", "search('alpha', limit=None)", "count('beta')"):
        await logs.ok(code)
    await notebook_in(tmp_path / "n.ipynb", logs)
    runs = await again(tmp_path / "n.ipynb", sources)
    assert differing(runs) == []
    assert [one.label for one in runs][:4] == ["cell 1, sources", "step 1", "step 2", "cell 4, a further context"]


@pytest.mark.slow
async def test_a_source_that_has_changed_is_not_loaded(logs: SessionDriver, sources: Path, tmp_path: Path) -> None:
    """The first cell says which, and no other runs."""
    await logs.ok("len(context)")
    await notebook_in(tmp_path / "n.ipynb", logs)
    other = tmp_path / "other"
    other.mkdir()
    (other / "a.log").write_text("changed\n")
    found = json.loads((tmp_path / "n.ipynb").read_text())
    found["metadata"][KEY]["contexts"][0]["paths"] = [str(other / "*.log")]
    (tmp_path / "n.ipynb").write_text(json.dumps(found))
    (only,) = await again(tmp_path / "n.ipynb", other)
    assert NOT_THERE in only.problem
    assert hashlib.sha256(b"changed\n").hexdigest() not in only.problem


@pytest.mark.slow
@pytest.mark.parametrize("knows_the_hash", [True, False])
async def test_a_hostile_notebook_gets_no_file_outside_and_none_inside_that_its_writer_has_not_read(
    logs: SessionDriver, tmp_path: Path, knows_the_hash: bool
) -> None:
    """By its path, by a link, or by a directory that it says it began in."""
    await logs.ok("context")
    found = await notebook_in(tmp_path / "n.ipynb", logs)
    inside, outside = tmp_path / "inside", tmp_path / "outside"
    inside.mkdir()
    outside.mkdir()
    where = outside if knows_the_hash else inside
    (where / "secret.txt").write_text("the secret")
    (inside / "link").symlink_to(outside / "secret.txt")
    row = found["metadata"][KEY]["contexts"][0]
    row["sha256"] = hashlib.sha256(b"the secret").hexdigest() if knows_the_hash else "0" * 64
    for paths in ([str(where / "secret.txt")], ["secret.txt"], ["link"], [str(where / "*")], ["../outside/secret.txt"]):
        row["paths"], row["working_dir"] = paths, str(outside)
        (tmp_path / "n.ipynb").write_text(json.dumps(found))
        (only,) = await again(tmp_path / "n.ipynb", inside)
        assert "is not loaded" in only.problem
        assert "the secret" not in only.said.text


@pytest.mark.slow
async def test_a_step_that_was_stopped_is_stopped_again_and_the_next_one_runs(
    registry: Registry, tmp_path: Path
) -> None:
    session = await SessionDriver.open(registry, TEXT)
    stopped = await session.run("while True: pass", timeout_ms=300)
    assert stopped.status == "timeout"
    await session.ok("2 + 3")
    await notebook_in(tmp_path / "n.ipynb", session)
    await end_session(session)
    _, first, second = await again(tmp_path / "n.ipynb", tmp_path)
    assert (first.why, first.said.error is not None) == (("timeout",), True)
    assert (second.said.result, second.differs) == ("5", ())


@pytest.mark.slow
async def test_a_step_that_ended_its_kernel_is_not_run_again(registry: Registry, tmp_path: Path) -> None:
    """And what came after it is said to follow a restore."""
    session = await SessionDriver.open(registry, TEXT)
    await session.ok("kept = 5")
    await session.begin("print('begun', flush=True)\nwhile True: pass")
    await session.until_printed("begun")
    session.kernel.process.kill()
    await session.end_of(2)
    await session.ok("kept")
    await notebook_in(tmp_path / "n.ipynb", session)
    await end_session(session)
    runs = {one.label: one for one in await again(tmp_path / "n.ipynb", tmp_path)}
    error = runs["step 2"].said.error
    assert error is not None
    assert "it is not run again" in error[1]
    assert (runs["step 3"].said.result, runs["step 3"].why) == ("5", ("restore",))


@pytest.mark.slow
async def test_questions_are_answered_from_the_notebook(registry: Registry, tmp_path: Path) -> None:
    """With a schema too; one that was never asked fails with a sentence, and nobody is asked."""
    books = StoreBooks(registry.store, registry._writer, AGENT, is_cached=True, day_max=0)
    with answered_by(registry, AgentBoard(Ceilings(subcalls=40), books)):
        session = await SessionDriver.open(registry, TEXT)
    asks = await session.run("llm_query_batched('Which letter?', ['alpha', 'beta'], schema=int)")
    assert asks.questions is not None
    given = [AnswerGiven(item.id, str(len(item.text or ""))) for item in asks.questions.items]
    async with asyncio.timeout(WAIT_S):
        handed = Handed(tuple(given), wait_ms=int(WAIT_S * 1000))
        done = await registry.answer(session.session_id, handed)
    assert done.result == "[5, 4]"
    await books.settled(session.session_id)
    found = await notebook_in(tmp_path / "n.ipynb", session)
    await end_session(session)
    assert differing(await again(tmp_path / "n.ipynb", tmp_path)) == []
    cells = code_cells(found)
    cells[1]["source"] = "llm_query('Another?')"
    (tmp_path / "n.ipynb").write_text(json.dumps(found))
    _, edited = await again(tmp_path / "n.ipynb", tmp_path)
    assert edited.said.error is not None
    assert "This notebook has no answer to this question" in edited.said.error[1]


async def test_without_its_sources_the_first_cell_names_both_ways(registry: Registry, tmp_path: Path) -> None:
    """In a locked kernel that was started for no notebook."""
    session = await SessionDriver.open(registry, TEXT)
    await session.ok("1")
    found = await notebook_in(tmp_path / "n.ipynb", session)
    await end_session(session)
    plain = await SessionDriver.open(registry)
    report = await plain.run(code_cells(found)[0]["source"])
    await end_session(plain)
    assert report.error is not None
    assert (report.error.ename, report.error.evalue) == ("RuntimeError", HOW)


@pytest.mark.slow
async def test_a_kernelspec_with_a_policy_and_another_provisioner_runs_no_cell(
    registry: Registry, tmp_path: Path
) -> None:
    """Its kernel would have the policy in its directory, and no wall."""
    session = await SessionDriver.open(registry, TEXT)
    await session.ok("1")
    await notebook_in(tmp_path / "n.ipynb", session)
    await end_session(session)
    write_spec(tmp_path, "open", {})
    path = tmp_path / "kernels" / "open" / "kernel.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "metadata": {}}))
    variables = {"HOME": str(tmp_path), "RLM_KERNEL": "open", "JUPYTER_PATH": str(tmp_path)}
    told: list[CellRun] = []
    with pytest.raises(KernelStartFailed, match="another provisioner"):
        await Rerun(tmp_path / "n.ipynb", load_settings(tmp_path, variables), None, WAIT_S).run(told.append)
    assert told == []


@pytest.mark.slow
async def test_a_long_text_comes_from_its_file(registry: Registry, tmp_path: Path) -> None:
    """Of a text of more than 4,000,000 characters: the file that the first cell names, with that hash."""
    text = "line of a long text\n" * 250_000
    session = await SessionDriver.open(registry, text)
    await session.ok("len(context), list(documents), search('long', limit=1)")
    found = await notebook_in(tmp_path / "n.ipynb", session)
    await end_session(session)
    (only,) = await again(tmp_path / "n.ipynb", tmp_path)
    assert NOT_THERE in only.problem
    row: dict[str, Any] = found["metadata"][KEY]["contexts"][0]
    (tmp_path / row["file"]).write_text(text)
    assert differing(await again(tmp_path / "n.ipynb", tmp_path)) == []


@pytest.mark.slow
async def test_a_picture_is_shown_again_and_another_one_differs(registry: Registry, tmp_path: Path) -> None:
    """What else a value offers is in no output, and is not missed."""
    session = await SessionDriver.open(registry, TEXT)
    await session.ok(f"from IPython.display import Image, HTML, display\ndisplay(Image(data={png()!r}), HTML('<b>'))")
    await session.ok(f"Image(data={png()!r})")
    found = await notebook_in(tmp_path / "n.ipynb", session)
    await end_session(session)
    runs = await again(tmp_path / "n.ipynb", tmp_path)
    assert [(one.differs, len(one.said.pictures)) for one in runs] == [((), 0), ((), 1), ((), 1)]
    first = code_cells(found)[1]
    first["outputs"] = [one for one in first["outputs"] if one["output_type"] != "display_data"]
    (tmp_path / "n.ipynb").write_text(json.dumps(found))
    assert (await again(tmp_path / "n.ipynb", tmp_path))[1].differs == ("pictures",)


@pytest.mark.slow
async def test_what_differs_is_told_and_tagged(registry: Registry, tmp_path: Path) -> None:
    """Where no look at the code could know it."""
    session = await SessionDriver.open(registry, TEXT)
    await session.ok("import time\ngetattr(time, 'perf' + '_counter')()")
    found = await notebook_in(tmp_path / "n.ipynb", session)
    await end_session(session)
    runs = await again(tmp_path / "n.ipynb", tmp_path)
    assert [(one.label, one.differs) for one in runs[1:]] == [("step 1", ("result",))]
    written(found, runs, tmp_path / "out.ipynb")
    cell = code_cells(json.loads((tmp_path / "out.ipynb").read_text()))[1]
    assert cell["metadata"][KEY]["why"] == ["differed"]
    assert "not-repeatable" in cell["metadata"]["tags"]
    assert (await again(tmp_path / "out.ipynb", tmp_path))[1].why == ("differed",)
