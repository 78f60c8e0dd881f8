"""The kernelspec is found in a checkout, and is installed, listed and removed where Jupyter looks."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec as find
from pathlib import Path
from typing import Final

import pytest

from rlm_kernel_mcp.errors import InvalidInput
from rlm_kernel_mcp.kernel.placement import kernelspec
from rlm_kernel_mcp.kernel.placement.kernelspec import InstalledKernelspec
from rlm_kernel_mcp.settings import JUPYTERS
from tests.rights import reachable_directory, without_root_rights


@pytest.fixture(autouse=True)
def own_jupyter_directories(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Jupyter's user directory and search path lie in the test's own directory; this Python has no pyarrow."""
    monkeypatch.setenv("JUPYTER_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setenv("JUPYTER_PATH", str(tmp_path / "env" / "share" / "jupyter"))
    monkeypatch.setattr(kernelspec, "find_spec", lambda name: None if name == "pyarrow" else find(name))


def test_a_kernelspec_that_lacks_a_module_is_installed_once_it_is_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """JupyterLab would offer a kernel that cannot start."""
    monkeypatch.setattr(kernelspec, "find_spec", lambda name: None if name == "numpy" else find("sys"))
    assert [one.name for one in kernelspec.install_kernelspec(tmp_path / "env")] == ["rlm-python"]
    assert kernelspec.kernelspecs_left_out() == {"rlm-python-data": ["numpy"]}
    monkeypatch.setattr(kernelspec, "find_spec", lambda name: find("sys"))
    installed = kernelspec.install_kernelspec(tmp_path / "env")
    assert [one.name for one in installed] == ["rlm-python", "rlm-python-data"]
    assert kernelspec.kernelspecs_left_out() == {}
    assert kernelspec.remove_kernelspec(tmp_path / "env") == installed


def test_the_checkout_has_the_spec_and_its_policy_side_by_side() -> None:
    """Choosing the spec chooses the lockdown: both files lie in one directory."""
    directory = kernelspec.kernelspec_dir() / "rlm-python"
    assert sorted(path.name for path in directory.iterdir()) == ["kernel.json", "policy.json"]


def test_a_copy_inside_the_package_wins_over_the_checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An installed wheel must not read whatever lies beside site-packages."""
    monkeypatch.setattr(kernelspec, "PACKAGE", tmp_path / "rlm_kernel_mcp")
    (tmp_path / "rlm_kernel_mcp" / "kernelspecs").mkdir(parents=True)
    assert kernelspec.kernelspec_dir() == tmp_path / "rlm_kernel_mcp" / "kernelspecs"


def test_an_installed_spec_starts_our_python_and_keeps_everything_else(tmp_path: Path) -> None:
    """A client of another environment must not start its own Python."""
    (directory,) = kernelspec.install_kernelspec()
    own = kernelspec.kernelspec_dir() / "rlm-python"
    expected = json.loads((own / "kernel.json").read_text())
    expected["argv"][0] = sys.executable
    assert directory == tmp_path / "data" / "kernels" / "rlm-python"
    assert json.loads((directory / "kernel.json").read_text()) == expected
    assert (directory / "policy.json").read_bytes() == (own / "policy.json").read_bytes()


def test_installing_again_replaces_an_older_copy_whole(tmp_path: Path) -> None:
    """A file of an older version must not stay beside the new policy."""
    (directory,) = kernelspec.install_kernelspec(tmp_path / "env")
    (directory / "left-over.json").write_text("{}")
    assert kernelspec.install_kernelspec(tmp_path / "env") == (directory,)
    assert not (directory / "left-over.json").exists()


def test_the_list_names_each_copy_and_the_python_that_it_starts(tmp_path: Path) -> None:
    """The user's directory is searched after JUPYTER_PATH, and both copies are told."""
    (in_env,) = kernelspec.install_kernelspec(tmp_path / "env")
    (of_user,) = kernelspec.install_kernelspec()
    ours = [found for found in kernelspec.installed_kernelspecs() if found.directory.is_relative_to(tmp_path)]
    assert ours == [
        InstalledKernelspec("rlm-python", in_env, sys.executable),
        InstalledKernelspec("rlm-python", of_user, sys.executable),
    ]


def test_removing_deletes_only_the_copy_at_that_place(tmp_path: Path) -> None:
    """The user's copy stays when the environment's is removed."""
    (in_env,) = kernelspec.install_kernelspec(tmp_path / "env")
    (of_user,) = kernelspec.install_kernelspec()
    assert kernelspec.remove_kernelspec(tmp_path / "env") == (in_env,)
    assert not in_env.exists()
    assert of_user.exists()


def test_removing_a_link_leaves_what_it_points_to(tmp_path: Path) -> None:
    """`jupyter kernelspec` may have linked a development copy; it is the user's."""
    target = tmp_path / "mine"
    target.mkdir()
    (target / "kernel.json").write_text('{"argv": ["python"]}')
    (tmp_path / "data" / "kernels").mkdir(parents=True)
    (tmp_path / "data" / "kernels" / "rlm-python").symlink_to(target)
    kernelspec.remove_kernelspec()
    assert (target / "kernel.json").exists()
    assert not (tmp_path / "data" / "kernels" / "rlm-python").is_symlink()


def test_removing_what_is_not_there_is_refused(tmp_path: Path) -> None:
    """The message names the place that was searched."""
    with pytest.raises(InvalidInput) as refused:
        kernelspec.remove_kernelspec(tmp_path / "env")
    assert str(tmp_path / "env") in refused.value.message


def test_a_place_that_cannot_be_written_is_refused_with_the_reason(tmp_path: Path) -> None:
    """A file stands where a directory is needed; root cannot write below it either."""
    (tmp_path / "file").write_text("")
    with pytest.raises(InvalidInput, match="Not a directory"):
        kernelspec.install_kernelspec(tmp_path / "file")


@pytest.mark.parametrize("there", [True, False], ids=["of_another_user", "not_there"])
def test_a_home_that_cannot_be_written_is_told_in_true_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, there: bool
) -> None:
    """Nothing was to be deleted; where the home directory is missing, that is what is said. A list passes over it."""
    with reachable_directory() as directory:
        home = directory / "home"
        if there:
            home.mkdir(mode=0o700)
        monkeypatch.setenv("HOME", str(home))
        monkeypatch.delenv("JUPYTER_DATA_DIR", raising=False)
        with closed_to_us(home if there else directory):
            why = "Permission denied" if there else "No such file or directory"
            with pytest.raises(InvalidInput, match=f"cannot be written: {why}") as refused:
                kernelspec.install_kernelspec()
            assert (f"there is no directory {home}" in refused.value.message) is not there
            assert "deleted" not in refused.value.message
            assert not any(spec.directory.is_relative_to(home) for spec in kernelspec.installed_kernelspecs())


def test_a_home_that_is_not_there_is_not_made(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Root could; that of a user without one is nobody's."""
    home = tmp_path / "nonexistent"
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.delenv("JUPYTER_DATA_DIR", raising=False)
    with pytest.raises(InvalidInput, match=f"there is no directory {home}"):
        kernelspec.install_kernelspec()
    assert not home.exists()
    assert kernelspec.install_kernelspec(home)  # who names the place means it


@contextmanager
def closed_to_us(directory: Path) -> Iterator[None]:
    """Nobody may write there, nor look below it where it is a home."""
    mode = directory.stat().st_mode & 0o777
    directory.chmod(0o555 if mode == 0o755 else 0o000)
    try:
        with without_root_rights():
            yield
    finally:
        directory.chmod(mode)


SAID: Final[tuple[dict[str, str], ...]] = (
    {},
    {"JUPYTER_PATH": "/a:/b/"},
    {"JUPYTER_DATA_DIR": "/data", "JUPYTER_PREFER_ENV_PATH": "1"},
    {"XDG_DATA_HOME": "/x", "HOME": "/h", "JUPYTER_PREFER_ENV_PATH": "no"},
    {"HOME": "/h"},
)


@pytest.mark.parametrize("said", SAID)
def test_a_client_s_own_directories_are_searched_as_jupyter_would(
    said: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the client's variables; and where they are this process's too, that is what Jupyter itself would search."""
    for name in JUPYTERS:
        monkeypatch.delenv(name, raising=False)
    for name, value in said.items():
        monkeypatch.setenv(name, value)
    expected = kernelspec.jupyter_dirs()
    monkeypatch.setenv("JUPYTER_PATH", "/ours")
    monkeypatch.setenv("JUPYTER_DATA_DIR", "/ours")
    assert kernelspec.jupyter_dirs(said.items()) == expected
    assert not any(one.startswith("/ours") for one in expected)


def test_to_find_a_kernelspec_takes_nothing_of_ipython() -> None:
    """The server imported the whole of it on its event loop, while every client waited."""
    program = """
import sys
from rlm_kernel_mcp.kernel.placement.kernelspec import spec_manager
import rlm_kernel_mcp.session.registry
print(spec_manager().get_kernel_spec("rlm-python").display_name != "", "IPython" in sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["True", "False"]
