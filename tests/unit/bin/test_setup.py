"""`bin/setup`: which Python it takes, when it has nothing to do, and two of it at once."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.parts import ROOT
from tests.sessions import WAIT_S
from tests.unit.bin.copies import (
    SYSTEM_PATH,
    checkout_module,
    copied_checkout,
    mark_as_set_up,
    programs,
    python_front,
    run,
)

# A project that pip installs with nothing from outside: its build backend is one file beside it.
BARE_PROJECT = """
[build-system]
requires = []
build-backend = "backend"
backend-path = ["."]
[project]
name = "bare"
version = "1"
optional-dependencies = {console = [], test = []}
"""
BARE_BACKEND = """
import zipfile

def build_editable(directory, settings=None, metadata=None):
    name = "bare-1-py3-none-any.whl"
    with zipfile.ZipFile(f"{directory}/{name}", "w") as wheel:
        wheel.writestr("bare.py", "here = True")
        described = "Metadata-Version: 2.1\\nName: bare\\nVersion: 1\\n"
        described += "Provides-Extra: console\\nProvides-Extra: test\\n"
        wheel.writestr("bare-1.dist-info/METADATA", described)
        wheel.writestr("bare-1.dist-info/WHEEL", "Wheel-Version: 1.0\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n")
        wheel.writestr("bare-1.dist-info/RECORD", "")
    return name
"""


@pytest.mark.slow
def test_two_setups_at_once_install_once_and_both_succeed(tmp_path: Path) -> None:
    """Both start on a checkout without an environment; the one that waited finds the work done."""
    root = copied_checkout(tmp_path / "checkout")
    (root / "pyproject.toml").write_text(BARE_PROJECT)
    (root / "backend.py").write_text(BARE_BACKEND)
    (root / "constraints.txt").write_text("")
    path = f"{programs(tmp_path / 'path', python3=python_front())}:{SYSTEM_PATH}"
    command = [str(root / "bin" / "setup")]
    both = [
        subprocess.Popen(command, env={"PATH": path}, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    ends = [process.communicate(timeout=90) for process in both]
    assert [process.returncode for process in both] == [0, 0], ends
    assert "".join(log for _, log in ends).count("installing the package") == 1
    found = run(root / ".venv" / "bin" / "python", "-I", "-c", "import bare; print(bare.here)")
    assert found.stdout == "True\n"


def test_a_setup_waits_for_the_one_at_work_and_then_goes_on(tmp_path: Path) -> None:
    """The lock is seen from both sides: it is told that it waits, and the end of the wait."""
    root = copied_checkout(tmp_path / "checkout")
    mark_as_set_up(root)
    path = programs(tmp_path / "path", python3=python_front())
    with checkout_module().locked(root):
        waiting = subprocess.Popen(
            [str(root / "bin" / "setup")], env={"PATH": str(path)}, stderr=subprocess.PIPE, text=True
        )
        assert waiting.stderr is not None
        assert "waiting" in waiting.stderr.readline()
        assert waiting.poll() is None
    assert waiting.wait(WAIT_S) == 0
    waiting.stderr.close()


def test_a_setup_with_nothing_to_do_says_nothing(tmp_path: Path) -> None:
    """No Python of `.venv` is started, which here would fail: there is none."""
    root = copied_checkout(tmp_path / "checkout")
    mark_as_set_up(root)
    done = run(root / "bin" / "setup", path=programs(tmp_path / "path", python3=python_front()))
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.parametrize("name", ["pyproject.toml", "constraints.txt", "kernelspecs/rlm-python/policy.json"])
def test_a_change_of_what_is_installed_makes_the_setup_run_again(tmp_path: Path, name: str) -> None:
    """A stale copy of the policy beside Jupyter's would be another lockdown than the one in the checkout."""
    root = copied_checkout(tmp_path / "checkout")
    before = checkout_module().fingerprint(root)
    (root / name).write_text((root / name).read_text() + "\n")
    assert checkout_module().fingerprint(root) != before


def test_a_checkout_that_was_moved_is_set_up_again(tmp_path: Path) -> None:
    """The scripts of an environment hold its absolute path."""
    root = copied_checkout(tmp_path / "checkout")
    before = checkout_module().fingerprint(root)
    assert checkout_module().fingerprint(root.rename(tmp_path / "moved")) != before


def test_a_name_on_path_with_no_python_behind_it_is_passed_over(tmp_path: Path) -> None:
    """A version manager's shim exists for every version it ever saw."""
    root = copied_checkout(tmp_path / "checkout")
    mark_as_set_up(root)
    shim = programs(tmp_path / "path", python3_13="echo no such version >&2; exit 127", python3=python_front())
    assert run(root / "bin" / "setup", path=shim).returncode == 0


def test_without_a_python_that_is_new_enough_the_setup_says_what_to_install(tmp_path: Path) -> None:
    """Exit status 2, as for everything that the machine lacks."""
    root = copied_checkout(tmp_path / "checkout")
    ended = run(root / "bin" / "setup", path=programs(tmp_path / "path", python3="exit 1"))
    assert ended.returncode == 2
    assert "no Python >= 3.11" in ended.stderr
    assert "apt-get install python3" in ended.stderr


def test_without_npm_the_codex_setup_says_what_to_install(tmp_path: Path) -> None:
    """The rest of the set-up has been done by then."""
    root = copied_checkout(tmp_path / "checkout")
    mark_as_set_up(root)
    ended = run(root / "bin" / "setup", "--with", "codex", path=programs(tmp_path / "path", python3=python_front()))
    assert ended.returncode == 2
    assert "npm" in ended.stderr


def test_a_group_that_is_not_known_is_refused_with_the_names_of_those_that_are(tmp_path: Path) -> None:
    """Before anything is installed."""
    root = copied_checkout(tmp_path / "checkout")
    ended = run(root / "bin" / "setup", "--with", "lba", path=programs(tmp_path / "path", python3=python_front()))
    assert ended.returncode == 2
    assert "'lba'" in ended.stderr
    assert "check, codex, claude, axe, openai, otel, ray, lab, data" in ended.stderr
    assert not (root / ".venv").exists()


@pytest.mark.slow
@pytest.mark.parametrize("start", checkout_module().STARTS)
def test_what_the_setup_imports_to_have_its_bytecode_written_is_there(start: str) -> None:
    """A name that is gone would be passed over without a word, and its bytecode be missing."""
    policy = ROOT / "kernelspecs" / "rlm-python" / "policy.json"
    done = subprocess.run(
        [sys.executable, "-I", "-c", start, str(policy)], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
def test_of_a_new_environment_a_start_s_bytecode_is_written_and_pip_s_is_not(tmp_path: Path) -> None:
    """Also where the environment forbids to write it."""
    module = checkout_module()
    root = copied_checkout(tmp_path / "checkout")
    packages = root / ".venv" / "lib" / "python3.x" / "site-packages"
    pip = packages / "pip" / "_internal" / "__pycache__"
    pip.mkdir(parents=True)
    (pip / "main.pyc").touch()
    (root / "rlm_kernel_mcp" / "some.py").write_text("some = 1\n")
    (root / ".venv" / "bin").mkdir()
    python = root / ".venv" / "bin" / "python"
    python.write_text(f'#!/bin/sh\nexec {sys.executable} "$@"\n')
    python.chmod(0o755)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONDONTWRITEBYTECODE", "1")
        module.leave_out(["false"], root / ".venv")
        module.compile_bytecode(root, root / ".venv")
    assert not pip.exists()
    assert list((root / "rlm_kernel_mcp" / "__pycache__").glob("some.*.pyc"))
