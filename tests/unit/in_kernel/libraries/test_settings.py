"""matplotlib is imported with settings and fonts of its own, and pandas as where there is no terminal.

The two libraries here are a few lines that do what is decisive in theirs; the real ones are in `tests/data/`.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest

from rlm_kernel_mcp.in_kernel.libraries.settings import own_settings

FIGURES: Final = """
import os, pathlib
rcParams = {}
directory = os.environ["MPLCONFIGDIR"]
was_there = sorted(os.listdir(directory))
pathlib.Path(directory, "fonts.json").write_text("{}")
def get_data_path(): return str(pathlib.Path(__file__).parent)
"""
FONTS: Final = """
import os, shutil, matplotlib
found = [name for top in (matplotlib.get_data_path(), "/usr") for _, _, names in os.walk(top) for name in names]
program = shutil.which("sh")
"""
PROGRAM: Final = """
import json, os, sys
sys.path.insert(0, sys.argv[1])
os.environ["MPLCONFIGDIR"] = "before"
walk, path = os.walk, os.environ["PATH"]
from rlm_kernel_mcp.in_kernel.libraries.settings import own_settings
with own_settings(["json", "matplotlib.pyplot"]):
    import matplotlib, pandas
fonts = sys.modules["matplotlib.font_manager"]
print(json.dumps([
    matplotlib.was_there, os.path.exists(matplotlib.directory), matplotlib.rcParams, pandas.options,
    [name for name in fonts.found if not name.endswith(".pyc")], fonts.program,
    os.environ["MPLCONFIGDIR"], (os.walk, os.environ["PATH"]) == (walk, path),
]))
"""


def test_the_fonts_are_the_library_s_own_and_nothing_is_left_of_how_they_were_found(tmp_path: Path) -> None:
    """A kernel could neither keep a list of fonts nor read those of the system, of which there may be thousands."""
    library = tmp_path / "matplotlib"
    library.mkdir()
    (library / "__init__.py").write_text(FIGURES)
    (library / "font_manager.py").write_text(FONTS)
    (tmp_path / "pandas.py").write_text("options = []\ndef set_option(*given): options.append(given)\n")
    done = subprocess.run([sys.executable, "-c", PROGRAM, str(tmp_path)], capture_output=True, text=True, check=True)
    *rest, names, program, directory, same = json.loads(done.stdout)
    assert rest == [[], False, {"backend": "agg"}, [["display.max_columns", 20]]]
    assert sorted(names) == ["__init__.py", "font_manager.py"]
    assert (program, directory, same) == (None, "before", True)


def test_a_policy_without_figures_imports_none_of_that(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor does one where matplotlib is not installed fail for it."""
    monkeypatch.delenv("MPLCONFIGDIR", raising=False)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with own_settings(["json"]):
        assert "MPLCONFIGDIR" not in os.environ
    with own_settings(["matplotlib"]):
        assert os.environ["MPLCONFIGDIR"]
    assert "MPLCONFIGDIR" not in os.environ
