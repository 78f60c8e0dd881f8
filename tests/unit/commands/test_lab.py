"""The command before it becomes the server: its lines for another one, and what it asks for."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from rlm_kernel_mcp.cli import build_parser
from rlm_kernel_mcp.commands import lab as command
from rlm_kernel_mcp.errors import InvalidInput
from rlm_kernel_mcp.settings import Settings, load_settings


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return load_settings("/", {"HOME": "/h", "RLM_STATE_DIR": str(tmp_path / "it's")})


def test_the_lines_for_another_server_are_python_that_begins_with_what_it_is_not(
    settings: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    """They lock what such a server can lock, whatever the state directory's name is made of."""
    assert command.lab(settings, {}, port=0, browser=True, only_print=True) == 0
    printed = capsys.readouterr().out
    first, *_ = printed.splitlines()
    assert first.startswith("# ")
    assert "acts with that server's rights" in printed
    set_to: dict[str, Any] = {}

    class Section:
        def __init__(self, name: str) -> None:
            object.__setattr__(self, "_name", name)

        def __setattr__(self, name: str, value: object) -> None:
            set_to[f"{self._name}.{name}"] = value  # type: ignore[attr-defined]

    class Config:
        def __getattr__(self, name: str) -> Section:
            return Section(name)

    exec(printed, {"c": Config()})
    assert set_to["ServerApp.terminals_enabled"] is False
    assert set_to["KernelSpecManager.allowed_kernelspecs"] == {"rlm-python", "rlm-python-data"}
    assert set_to["KernelSpecManager.ensure_native_kernel"] is False
    assert set_to["LiveKernels.state_dir"] == str(settings.state_dir)


def test_without_jupyterlab_it_says_what_to_install(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(InvalidInput, match="JupyterLab is not installed") as refused:
        command.lab(settings, {}, port=0, browser=True, only_print=False)
    assert "[lab]" in refused.value.next_step


def test_the_server_gets_no_setting_of_jupyters(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is set for other servers of the user would be set for this one too."""
    began: list[tuple[list[str], Mapping[str, str]]] = []

    def begin(program: str, argv: list[str], environ: Mapping[str, str]) -> None:
        began.append((argv, environ))
        raise SystemExit(program)

    monkeypatch.setattr("importlib.util.find_spec", lambda name: object())
    monkeypatch.setattr("os.execve", begin)
    environ = {"PATH": "/bin", "JUPYTER_TOKEN": "t", "JUPYTERLAB_DIR": "/x", "JUPYTER_CONFIG_PATH": "/y", "RLM_X": "z"}
    with pytest.raises(SystemExit):
        command.lab(settings, environ, port=8_888, browser=False, only_print=False)
    ((argv, given),) = began
    own = Path(argv[argv.index("--own") + 1])
    assert own.stat().st_mode & 0o777 == 0o700
    own.rmdir()
    assert {name for name in given if name.startswith("JUPYTER")} == {
        "JUPYTER_NO_CONFIG",
        "JUPYTER_DATA_DIR",
        "JUPYTER_RUNTIME_DIR",
    }
    assert (given["PATH"], given["RLM_X"]) == ("/bin", "z")
    assert argv[argv.index("--port") + 1] == "8888"
    assert "--browser" not in argv


@pytest.mark.parametrize("command", ["lab", "watch"])
@pytest.mark.parametrize("port", ["-1", "65536", "x", "", "٣"])
def test_a_port_is_a_number_of_one(command: str, port: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        build_parser().parse_args([command, f"--port={port}"])
    assert "is not a port" in capsys.readouterr().err
