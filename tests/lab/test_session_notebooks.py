"""The notebook of the demo's run: valid for nbformat, and run again by nbclient and in JupyterLab.

`bin/demo` itself, which CI has over the whole library, runs it again too, by `notebook run`.
"""

from __future__ import annotations

import json
import subprocess
import sysconfig
from pathlib import Path
from typing import Any, Final

import pytest

from rlm_kernel_mcp.notebook.form.names import HOW, KEY
from rlm_kernel_mcp.notebook.form.outputs import Said
from tests.lab.home import LOCKED, Home
from tests.lab.lab_server import lab_server
from tests.parts import ROOT
from tests.unit.notebook.schema import code_cells, validate

pytestmark = pytest.mark.slow
LIBRARY: Final = Path(sysconfig.get_path("stdlib")).resolve()
DEMO_S: Final = 100


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Over three packages of the library."""
    path = tmp_path_factory.mktemp("demo") / "run.ipynb"
    command = [str(ROOT / "bin" / "demo"), "json", "email", "asyncio", "--notebook", str(path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=DEMO_S, check=False)
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(path.read_text(encoding="ascii"))
    validate(found)
    return found


def write(home: Home, name: str, notebook: dict[str, Any]) -> Path:
    return home.write(name, json.dumps(notebook))


def with_sources(home: Home, path: Path) -> Home:
    """The same home, for clients whose kernels are to have the sources of a notebook."""
    return Home(home.directory, {**home.env, "RLM_NOTEBOOK": str(path), "RLM_CONTEXT_ROOTS": str(LIBRARY)})


def test_nbformat_takes_it(home: Home, recorded: dict[str, Any]) -> None:
    """And writes it anew, which has the same in it."""
    write(home, "valid.ipynb", recorded)
    program = (
        "import nbformat; n = nbformat.read('valid.ipynb', 4); nbformat.validate(n); nbformat.write(n, 'anew.ipynb')"
    )
    done = home.run("python", "-c", program)
    assert done.returncode == 0, done.stderr
    assert json.loads((home.directory / "anew.ipynb").read_text())["metadata"] == recorded["metadata"]


def test_nbclient_runs_it_again_and_it_says_the_same(home: Home, recorded: dict[str, Any]) -> None:
    """From top to bottom, over sources that are named relative to where its server ran."""
    path = write(home, "again.ipynb", recorded)
    done = with_sources(home, path).run("jupyter", "execute", "again.ipynb", "--output=out.ipynb")
    assert done.returncode == 0, done.stderr
    now = code_cells(json.loads((home.directory / "out.ipynb").read_text()))
    then = code_cells(recorded)
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
def test_without_its_sources_the_first_cell_fails_with_a_sentence(
    home: Home, recorded: dict[str, Any], named: str
) -> None:
    """That names both ways; or what is wrong with the one that was tried."""
    write(home, "bare.ipynb", recorded)
    env = home.env if named == "nothing" else {**home.env, "RLM_NOTEBOOK": "missing.ipynb"}
    done = Home(home.directory, env).run("jupyter", "execute", "bare.ipynb", "--output=none.ipynb")
    assert done.returncode != 0
    said = HOW.split(" Run", maxsplit=1)[0] if named == "nothing" else "missing.ipynb cannot be read"
    assert said in done.stderr


@pytest.mark.anyio
async def test_a_kernel_of_jupyterlab_has_the_sources_and_again_after_a_restart(
    home: Home, recorded: dict[str, Any]
) -> None:
    """Cell by cell, as a person runs them."""
    path = write(home, "lab.ipynb", recorded)
    sources, look, *_ = code_cells(recorded)
    async with lab_server(with_sources(home, path)) as server, server.kernel(LOCKED) as kernel:
        for is_again in (False, True):
            if is_again:
                await kernel.server.ask("POST", f"kernels/{kernel.kernel_id}/restart")
                kernel.close()
                await kernel.connect()
            _, reply = await kernel.execute(sources["source"])
            assert reply["status"] == "ok", reply
            said, _ = await kernel.execute(look["source"])
            streams = [{"output_type": "stream", **one["content"]} for one in said if "text" in one["content"]]
            assert Said.of_outputs(streams) == Said.of_outputs(look["outputs"])
