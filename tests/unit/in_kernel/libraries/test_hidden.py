"""A library that is hidden while others are imported, and what pandas is told when it comes.

The pandas and pyarrow here are a few lines that do what is decisive in theirs; the real ones are in `tests/data/`.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest

from rlm_kernel_mcp.in_kernel.libraries import hidden

ANSWERS: Final = """
try:
    import pyarrow
    HAS_PYARROW, pa_version_under9 = pyarrow.version >= 5, pyarrow.version < 9
except ImportError:
    HAS_PYARROW, pa_version_under9 = False, True
"""
ARRAYS: Final = """
from pandas.compat.pyarrow import HAS_PYARROW, pa_version_under9
if HAS_PYARROW:
    import pyarrow
    table = {"known": pyarrow.version}
"""
PANDAS: Final = """
import pandas.compat.pyarrow, pandas.arrays
options = []
def set_option(name, value): options.append((name, value))
"""
ARROW: Final = """
import os
version = int(os.environ["VERSION"])
if version < 0: raise KeyboardInterrupt
"""
PROGRAM: Final = """
import json, os, sys
sys.path.insert(0, sys.argv[1])
from rlm_kernel_mcp.in_kernel.libraries.hidden import hidden
with hidden(["pyarrow"]):
    import pandas
    at_first = pandas.arrays.HAS_PYARROW, pandas.arrays.pa_version_under9, hasattr(pandas.arrays, "table")
finders = len(sys.meta_path)
try:
    os.environ["VERSION"] = "-1"
    import pyarrow
except KeyboardInterrupt:
    interrupted = pandas.arrays.HAS_PYARROW, len(sys.meta_path) - finders
os.environ["VERSION"] = sys.argv[2]
import pyarrow
then = pandas.arrays.HAS_PYARROW, pandas.arrays.pa_version_under9, getattr(pandas.arrays, "table", None)
print(json.dumps([at_first, interrupted, then, len(sys.meta_path) - finders, pandas.options]))
"""


@pytest.fixture
def libraries(tmp_path: Path) -> Path:
    """A directory with them."""
    (tmp_path / "pandas" / "compat").mkdir(parents=True)
    (tmp_path / "pandas" / "compat" / "__init__.py").write_text("")
    (tmp_path / "pandas" / "compat" / "pyarrow.py").write_text(ANSWERS)
    (tmp_path / "pandas" / "arrays.py").write_text(ARRAYS)
    (tmp_path / "pandas" / "__init__.py").write_text(PANDAS)
    (tmp_path / "pyarrow.py").write_text(ARROW)
    return tmp_path


@pytest.mark.parametrize(("version", "then"), [(20, [True, False, {"known": 20}]), (3, [False, True, None])])
def test_pandas_is_told_of_pyarrow_as_if_it_had_been_there_from_the_beginning(
    libraries: Path, version: int, then: list[object]
) -> None:
    """Once it has come whole: an import that was interrupted is not the last. One that is too old stays out."""
    argv = [sys.executable, "-c", PROGRAM, str(libraries), str(version)]
    done = subprocess.run(argv, capture_output=True, text=True, check=True)
    strings = ["mode.string_storage", "python"]
    assert json.loads(done.stdout) == [[False, True, False], [False, 0], then, -1, [strings]]


def test_a_hidden_library_is_not_there_meanwhile_and_can_be_imported_afterwards(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that was imported before stays as it was."""
    (tmp_path / "late_library.py").write_text("there = True\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    with hidden.hidden(["late_library", "json"]):
        with pytest.raises(ImportError):
            __import__("late_library")
        assert __import__("json") is sys.modules["json"]
    assert __import__("late_library").there
    del sys.modules["late_library"]
