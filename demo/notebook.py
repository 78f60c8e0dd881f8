"""The session that has just ended as a Jupyter notebook, which runs again from top to bottom and says the same.

Is: the two commands that a person would give, `trace --format notebook` and `notebook run`. Is not: the comparison,
which the second one makes, cell by cell.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Final

PROGRAM: Final = (sys.executable, "-I", "-m", "rlm_kernel_mcp")


def runs_again(state: Path, session_id: str, root: Path, path: Path) -> bool:
    """Write the notebook of a session there, run it over the same sources, and say what came of it.

    `state`: the server's directory. `root`: below which the sources lie.

    Returns:
        Whether each cell said the same.
    """
    environment = {**os.environ, "RLM_STATE_DIR": str(state)}
    with path.open("wb") as file:
        written = [*PROGRAM, "trace", session_id, "--format", "notebook"]
        subprocess.run(written, env=environment, stdout=file, check=True)
    command = [*PROGRAM, "notebook", "run", str(path), "--root", str(root)]
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=False)
    said = done.stdout.splitlines()
    shown = said[-1:] if done.returncode == 0 else said
    print("\nThe session as a notebook, run again in a kernel of its own: " + "\n  ".join(shown), flush=True)
    return done.returncode == 0
