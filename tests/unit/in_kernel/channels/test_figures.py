"""A kernel of another client shows figures in the notebook; the environment is the same as in ours."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

LIBRARY = """
import sys
if sys.argv[-1] == "interrupted":
    sys.argv[-1] = "again"
    raise KeyboardInterrupt
class Settings(dict): pass
rcParams = Settings(backend='agg')
seen = rcParams['backend']
"""
PROGRAM = """
import os, sys
sys.path.insert(0, sys.argv[1])
from rlm_kernel_mcp.in_kernel.channels.figures import show_figures_inline
if "before" in sys.argv: import matplotlib
if "named" in sys.argv: os.environ["MPLBACKEND"] = "svg"
finders = len(sys.meta_path)
environment = dict(os.environ)
show_figures_inline()
try: import matplotlib
except KeyboardInterrupt: pass
import json, matplotlib, matplotlib.part
print(matplotlib.rcParams["backend"], matplotlib.seen, type(matplotlib.__spec__.loader).__name__)
assert environment == dict(os.environ) and len(sys.meta_path) == finders
"""


@pytest.mark.parametrize(
    ("when", "backend"),
    [
        ("after", "module://matplotlib_inline.backend_inline"),
        ("before", "module://matplotlib_inline.backend_inline"),
        ("interrupted", "module://matplotlib_inline.backend_inline"),
        ("named", "agg"),
    ],
)
def test_the_backend_is_chosen_behind_the_librarys_import(tmp_path: Path, when: str, backend: str) -> None:
    """Whether it is imported before (a preload), after, or again; a backend that the environment names stays."""
    package = tmp_path / "matplotlib"
    package.mkdir()
    (package / "__init__.py").write_text(LIBRARY, encoding="utf-8")
    (package / "part.py").write_text("", encoding="utf-8")
    argv = [sys.executable, "-I", "-c", PROGRAM, str(tmp_path), when]
    done = subprocess.run(argv, capture_output=True, text=True, check=True)
    assert done.stdout == f"{backend} agg SourceFileLoader\n"
