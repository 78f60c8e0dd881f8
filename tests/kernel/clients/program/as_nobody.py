"""Becomes another user, in mounts of its own where what that user may not reach, and a Python needs, lies in reach.

`unshare --mount python as_nobody.py UID DIRECTORIES COMMAND...`: DIRECTORIES, separated as in PATH, are to be
reachable. Where a directory on the way is closed to others (a root's home with a Python in it), one that is open lies
over it, with the wanted directories alone in it.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path


def closed_above(directory: Path) -> Path | None:
    """The topmost directory on the way that others may not enter."""
    way = [*reversed(directory.parents), directory]
    return next((place for place in way if not place.stat().st_mode & 0o001), None)


def main() -> None:
    uid, directories, *command = sys.argv[1:]
    wanted: dict[Path, list[Path]] = {}
    for directory in map(Path, directories.split(os.pathsep)):
        closed = closed_above(directory)
        if closed is not None:
            wanted.setdefault(closed, []).append(directory)
    for closed, inside in wanted.items():
        held = [(directory, tempfile.mkdtemp()) for directory in inside]
        for directory, aside in held:
            subprocess.run(["mount", "--bind", directory, aside], check=True)
        subprocess.run(["mount", "-t", "tmpfs", "-o", "mode=755,size=1m", "none", closed], check=True)
        for directory, aside in held:
            directory.mkdir(parents=True, exist_ok=True)
            subprocess.run(["mount", "--move", aside, directory], check=True)
            Path(aside).rmdir()
    os.setgroups([])
    os.setgid(int(uid))
    os.setuid(int(uid))
    os.environ["HOME"] = "/nonexistent"
    os.execv(command[0], command)


main()
