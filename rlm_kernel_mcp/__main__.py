"""The console script, and `python -m rlm_kernel_mcp`: without a command it is the front of a host.

Is: the choice between that and the command line, before anything is imported that takes time. Is not: either of them
(`front/run.py`, `cli.py`).
"""

import os
import sys
from typing import Final

OWN_OPTIONS: Final = ("-h", "--help", "--version")
"""Options of the program itself; a command line that begins with any other option is meant for the server."""
FRONT: Final = os.path.join(os.path.dirname(__file__), "front", "run.py")  # noqa: PTH118, PTH120


def main() -> int:
    """Run one command, or become a front; returns the exit status."""
    arguments = sys.argv[1:]
    if not arguments or (arguments[0].startswith("-") and arguments[0] not in OWN_OPTIONS):
        if os.environ.get("RLM_HOST") != "off" or any(one.startswith("--host") for one in arguments):
            os.execv(sys.executable, [sys.executable, "-I", "-S", FRONT, *arguments])  # noqa: S606
        arguments.insert(0, "serve")
    from rlm_kernel_mcp.cli import main as run

    return run(arguments)


if __name__ == "__main__":
    sys.exit(main())
