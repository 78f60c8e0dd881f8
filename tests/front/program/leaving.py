"""Starts a client's process, uses a session, ends the process, and says what is left of all that came of it.

As a subreaper it is the parent of whatever outlives its own: of a host, and of whatever forgets to end. Arguments: a
directory for all that there is, and how the process ends (`EOF`, or a signal). It writes one JSON object.
"""

from __future__ import annotations

import ctypes
import json
import os
import signal
import sys
from pathlib import Path

from tests.mcp.line_client import LineClient
from tests.mcp.own_host import FRONT, WAIT_S
from tests.processes import command_lines_below, run_directories

PR_SET_CHILD_SUBREAPER = 36


def sockets_in(places: list[str]) -> list[str]:
    """Sockets of this machine whose path lies in one of these directories."""
    lines = Path("/proc/net/unix").read_text(encoding="utf-8", errors="replace").splitlines()
    paths = {line.split(maxsplit=7)[7] for line in lines if "/" in line}
    return sorted(path for path in paths if any(path.startswith(f"{place}/") for place in places))


def main() -> None:
    directory, way = Path(sys.argv[1]), sys.argv[2]
    assert ctypes.CDLL(None, use_errno=True).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) == 0
    hosts, work = directory / "hosts", directory / "work"
    work.mkdir()
    settings = {"RLM_HOST": os.environ["RLM_HOST"], "RLM_HOST_DIR": str(hosts), "RLM_HOST_IDLE_S": "0"}
    settings["RLM_HOST_WAIT_S"] = f"{WAIT_S:.0f}"
    client = LineClient(work, settings, FRONT)
    client.initialize()
    client.run(client.open_session(), "x = 1")
    lines = command_lines_below(os.getpid())
    places = [str(hosts), *map(str, run_directories(lines.values()))]
    seen = {"processes": len(lines), "sockets": len(sockets_in(places)), "directories": len(places) - 1}
    client.stdin.close() if way == "EOF" else client.process.send_signal(signal.Signals[way])
    status = client.process.wait(WAIT_S)
    while True:
        try:
            os.wait()
        except ChildProcessError:
            break
    left = [*sockets_in(places), *(place for place in places[1:] if os.path.lexists(place))]
    left += [str(path) for path in hosts.glob("*") if path.suffix != ".log"]
    print(json.dumps({"status": status, "seen": seen, "left": left}))


if __name__ == "__main__":
    main()
