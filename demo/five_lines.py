"""A session without MCP, from a few lines of Python; `bin/demo` shows and runs them.

Is: the use of `rlm_kernel_mcp.api`. Is not: the main job (`stdlib_questions.py`), which goes through the real server.
"""

from __future__ import annotations

import inspect
import sys
import tempfile
import textwrap
from pathlib import Path

from demo.agent import until_ended
from rlm_kernel_mcp.api import Session

WORD = "TODO"


def to_do(library: Path, env: dict[str, str]) -> list[str]:
    """Each place with the word, as `file:line`."""
    with Session(context_paths=library / "*.py", env=env) as session:
        session.run("hits = search('TODO', limit=None)")
        session.run("places = [f'{hit.doc}:{hit.line}' for hit in hits]")
        session.run("print(len(places), 'places')", on_output=lambda piece: print(piece, end=""))
        return session.get("places", list)


def main(library: Path) -> int:
    """Show the lines, run them, and count a second time; returns the exit status."""
    lines = inspect.getsource(to_do).splitlines()
    print("\nFive lines of Python, without MCP (docs/python.md):\n")
    print(textwrap.indent("\n".join([lines[0], *lines[2:]]), "    ") + "\n", flush=True)
    with tempfile.TemporaryDirectory(prefix="rlm-demo-") as state:
        hosts = Path(state, "hosts")  # which nobody else finds, and which end with their last client
        own = {"RLM_STATE_DIR": state, "RLM_HOST_DIR": str(hosts), "RLM_HOST_IDLE_S": "0"}
        places = to_do(library, {"RLM_CONTEXT_ROOTS": str(library), **own})
        until_ended(hosts)
    files = {path.resolve() for path in library.glob("*.py")}
    counted = sum(path.read_bytes().count(WORD.encode()) for path in files)
    print(f"the first is {places[0]}" if places else "none")
    if len(places) != counted:
        print(f"MISMATCH in places: the session has {len(places)}, the check {counted}", file=sys.stderr)
        return 1
    return 0
