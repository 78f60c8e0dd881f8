"""What the server of `lab` is set to: by us alone; and what another server is set to by our lines."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Final

import pytest

from rlm_kernel_mcp.session.registry import Registry
from tests.lab.home import LOCKED, STOCK, Home
from tests.lab.lab_server import lab_server
from tests.lab.live.serving import LiveServer, home_with, kernel_id_of, live_server
from tests.sessions import SessionDriver

pytestmark = [pytest.mark.anyio, pytest.mark.slow]
NAMES: Final = ("jupyter_config.py", "jupyter_server_config.py", "jupyter_lab_config.py")
OPENING: Final = "open({note!r}, 'a').write('read')\nc.ServerApp.terminals_enabled = True\nc.ServerApp.token = ''\n"
"""A configuration that notes that it was read, and opens the server."""
EXTENSION: Final = {"ServerApp": {"jpserver_extensions": {"jupyter_server_terminals": True, "jupyter_lsp": True}}}
SPEC: Final = {"argv": ["/bin/false"], "display_name": "not ours", "language": "python"}


def poison(directory: Path, note: Path) -> None:
    """Put configurations, extensions and kernelspecs there as Jupyter finds them."""
    (directory / "jupyter_server_config.d").mkdir(parents=True, exist_ok=True)
    for name in NAMES:
        (directory / name).write_text(OPENING.format(note=str(note)), encoding="utf-8")
    (directory / "jupyter_server_config.d" / "x.json").write_text(json.dumps(EXTENSION), encoding="utf-8")
    for name in (LOCKED, STOCK, "other"):
        spec = directory / "kernels" / name
        spec.mkdir(parents=True, exist_ok=True)
        (spec / "kernel.json").write_text(json.dumps(SPEC), encoding="utf-8")


@pytest.fixture
def poisoned(home: Home, tmp_path: Path) -> Home:
    """A home whose configurations open every server, wherever Jupyter looks for them, and note that they were read."""
    note = tmp_path / "note"
    places = {
        "HOME": tmp_path / ".jupyter",
        "JUPYTER_CONFIG_DIR": tmp_path / "config",
        "JUPYTER_CONFIG_PATH": tmp_path / "path",
        "JUPYTER_PATH": tmp_path / "data",
        "JUPYTER_DATA_DIR": tmp_path / "own",
    }
    for place in places.values():
        poison(place, note)
    poison(tmp_path, note)  # its working directory
    temporary = tmp_path / "tmp"
    temporary.mkdir()
    variables = {name: str(place) for name, place in places.items()} | {"HOME": str(tmp_path)}
    env = {**home.env, **variables, "TMPDIR": str(temporary), "JUPYTER_TOKEN": "guessed"}
    return Home(tmp_path, env)


async def test_no_configuration_but_ours_is_read_and_nothing_is_left(poisoned: Home, tmp_path: Path) -> None:
    note, temporary = tmp_path / "note", tmp_path / "tmp"
    async with live_server(poisoned, tmp_path / "state") as lab:
        specs = (await lab.ask("GET", "kernelspecs"))["kernelspecs"]
        assert "not ours" not in str(specs)
        assert LOCKED in specs
        assert (await lab.status("GET", "api/terminals"))[0] == 404
        assert (await lab.status("GET", "api/kernels", headers={"Authorization": "token guessed"}))[0] == 403
        wishes = await lab.status("GET", "lab/api/settings/@jupyterlab/apputils-extension:notification")
        assert wishes[0] == 200
        assert json.loads(json.loads(wishes[1])["raw"]) == {"fetchNews": "false", "checkForUpdates": False}
        (own,) = temporary.glob("rlm-lab-*")
        assert (own.stat().st_mode & 0o777, (own / "documents").stat().st_mode & 0o777) == (0o700, 0o700)
    assert not note.exists()
    assert [*temporary.iterdir()] == []
    assert not (tmp_path / "state").exists(), "who only looks leaves no store behind"
    poisoned.run("jupyter", "server", "list")
    assert note.exists(), "the control: another program of Jupyter's does read them"


async def test_the_page_has_no_extension_that_is_installed_for_other_servers(home: Home, tmp_path: Path) -> None:
    """nbconvert brings one along, which lies beside JupyterLab."""
    brought = home.run("python", "-c", "import sys; print(sys.prefix)").stdout.strip()
    (found,) = Path(brought, "share/jupyter/labextensions").glob("jupyterlab_pygments/package.json")
    async with live_server(home, tmp_path / "state") as lab:
        _, page = await lab.status("GET", "lab")
        assert ("jupyter-config-data" in page, found.parent.name in page) == (True, False)
        assert (await lab.status("GET", f"lab/extensions/{found.parent.name}/package.json"))[0] == 404


async def test_documents_that_were_saved_are_kept(poisoned: Home, tmp_path: Path) -> None:
    async with live_server(poisoned, tmp_path / "state") as lab:
        await lab.ask("PUT", "contents/kept.txt", type="file", format="text", content="mine")
    (own,) = (tmp_path / "tmp").glob("rlm-lab-*")
    assert [path.name for path in own.iterdir()] == ["documents"]
    assert (own / "documents" / "kept.txt").read_text(encoding="utf-8") == "mine"


async def test_a_server_of_ones_own_lists_the_same_kernels_by_the_lines_that_are_printed(
    home: Home, registry: Registry, state: Path
) -> None:
    """VS Code calls it an existing server. The lines begin with what it is not."""
    printed = home_with(home, RLM_STATE_DIR=str(state)).run("rlm-kernel-mcp", "lab", "--print-config")
    assert printed.returncode == 0, printed.stderr
    assert printed.stdout.startswith("# ")
    lines = home.write("with_sessions.py", printed.stdout)
    agent = await SessionDriver.open(registry)
    async with lab_server(home, f"--config={lines}") as stock:
        server = LiveServer(stock.url, stock.token)
        async with server.page_on(agent) as page:
            _, reply = await page.execute("seen = 1")
            assert reply["status"] == "ok"
            assert (await server.status("POST", f"api/kernels/{page.kernel_id}/interrupt"))[0] == 204
            assert (await server.status("POST", f"api/kernels/{page.kernel_id}/restart"))[0] == 409
        assert (await server.status("GET", "api/terminals"))[0] == 404
        assert (await server.status("POST", "api/kernels", name=STOCK))[0] == 404
    assert (await agent.ok("seen")).result == "1"
    await agent.finalize(text="done")
    assert kernel_id_of(agent).startswith(agent.session_id)
