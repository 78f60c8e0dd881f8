"""A session's notebook in nbclient and nbconvert: valid for nbformat, run again by RLM_NOTEBOOK, and as a page."""

from __future__ import annotations

import asyncio
import json
import sysconfig
from dataclasses import dataclass
from html.parser import HTMLParser
from pathlib import Path
from typing import Any, Final

import pytest

from demo.stdlib_questions import AGGREGATE, DEFINE, LOOK, PARTS, READ_PART, context_paths
from rlm_kernel_mcp.notebook.form.names import HOW, KEY
from rlm_kernel_mcp.notebook.form.outputs import Said
from rlm_kernel_mcp.notebook.writing.record import notebook_of, text_of
from tests.lab.home import Home
from tests.sessions import AMPLE, WAIT_S, SessionDriver, open_registry
from tests.unit.notebook.schema import code_cells

pytestmark = [pytest.mark.slow, pytest.mark.anyio]
LIBRARY: Final = Path(sysconfig.get_path("stdlib")).resolve()
PACKAGES: Final = ("json", "email", "asyncio")
HOSTILE: Final = (
    "print('<script>alert(1)</script><img src=http://evil.example/a.png onerror=alert(2)>')",
    "print('\\x1b]8;;http://evil.example\\x07link')",
    "class Page:\n    def __repr__(self): return '<iframe src=//evil.example></iframe>'\nPage()",
    "raise ValueError('<style>@import url(http://evil.example/x.css)</style>')",
)


@dataclass(frozen=True)
class Recorded:
    """A session of the demo's steps, and of outputs that would act."""

    state: Path
    session_id: str
    notebook: dict[str, Any]


@pytest.fixture(scope="module")
async def recorded(tmp_path_factory: pytest.TempPathFactory) -> Recorded:
    """Over three packages of the library."""
    state = tmp_path_factory.mktemp("state")
    steps = [LOOK, DEFINE, *(READ_PART.format(part=part, parts=PARTS) for part in range(PARTS)), AGGREGATE, *HOSTILE]
    async with open_registry(state, RLM_CONTEXT_ROOTS=str(LIBRARY)) as registry:
        async with asyncio.timeout(WAIT_S):
            opened = await registry.init_context(
                context_text=None, context_paths=context_paths(LIBRARY, PACKAGES), limits=AMPLE
            )
        session = SessionDriver(registry, opened.session_id)
        for code in steps:
            await session.run(code)
        await session.finalize(var="report")
        await session.trace()
        made, _ = await asyncio.to_thread(notebook_of, registry.store, session.session_id)
    return Recorded(state, opened.session_id, json.loads("".join(text_of(made))))


def write(home: Home, name: str, notebook: dict[str, Any]) -> Path:
    return home.write(name, json.dumps(notebook))


def test_nbformat_takes_it(home: Home, recorded: Recorded) -> None:
    """And writes it anew, which has the same in it."""
    write(home, "valid.ipynb", recorded.notebook)
    program = (
        "import nbformat; n = nbformat.read('valid.ipynb', 4); nbformat.validate(n); nbformat.write(n, 'anew.ipynb')"
    )
    done = home.run("python", "-c", program)
    assert done.returncode == 0, done.stderr
    assert json.loads((home.directory / "anew.ipynb").read_text())["metadata"] == recorded.notebook["metadata"]


def test_nbclient_runs_it_again_and_it_says_the_same(home: Home, recorded: Recorded) -> None:
    """From top to bottom, with exceptions where there were some."""
    path = write(home, "again.ipynb", recorded.notebook)
    sources = {"RLM_NOTEBOOK": str(path), "RLM_CONTEXT_ROOTS": str(LIBRARY)}
    done = Home(home.directory, {**home.env, **sources}).run("jupyter", "execute", "again.ipynb", "--output=out.ipynb")
    assert done.returncode == 0, done.stderr
    now = code_cells(json.loads((home.directory / "out.ipynb").read_text()))
    then = code_cells(recorded.notebook)
    assert len(now) == len(then)
    said = [
        (Said.of_outputs(one["outputs"]), Said.of_outputs(other["outputs"]))
        for one, other in zip(now, then, strict=True)
    ]
    differ = [
        (cell["id"], one.differs_from(other))
        for cell, (one, other) in zip(then, said, strict=True)
        if one != other and not cell["metadata"][KEY].get("why")
    ]
    assert differ == []


@pytest.mark.parametrize("named", ["nothing", "a notebook that is not there"])
def test_without_its_sources_the_first_cell_fails_with_a_sentence(home: Home, recorded: Recorded, named: str) -> None:
    """That names both ways; or what is wrong with the one that was tried."""
    write(home, "bare.ipynb", recorded.notebook)
    env = home.env if named == "nothing" else {**home.env, "RLM_NOTEBOOK": "missing.ipynb"}
    done = Home(home.directory, env).run("jupyter", "execute", "bare.ipynb", "--output=none.ipynb")
    assert done.returncode != 0
    said = HOW.split(" Run", maxsplit=1)[0] if named == "nothing" else "missing.ipynb cannot be read"
    assert said in done.stderr


class Tags(HTMLParser):
    """What a page has: tags, and what its attributes name or run."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.named: list[tuple[str, str]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.named += [(name, value or "") for name, value in attrs if name in ("src", "href") or name.startswith("on")]


def test_its_page_names_no_address_and_has_no_script(home: Home, recorded: Recorded) -> None:
    """Whatever the session's code has shown."""
    env = {**home.env, "RLM_STATE_DIR": str(recorded.state)}
    done = Home(home.directory, env).run("rlm-kernel-mcp", "trace", recorded.session_id, "--format", "html")
    assert done.returncode == 0, done.stderr
    page = Tags()
    page.feed(done.stdout)
    assert {"script", "iframe", "object", "embed", "base", "form"} & set(page.tags) == set()
    assert [one for one in page.named if one[0].startswith("on") or not one[1].startswith(("#", "data:"))] == []
    policy = done.stdout.index("Content-Security-Policy")
    assert policy < done.stdout.index("<style")
    assert "&lt;script&gt;alert(1)" in done.stdout
