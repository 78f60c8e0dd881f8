"""Becomes another user, in mounts of its own where what that user may not reach, and a Python needs, lies in reach.

`unshare --mount python as_nobody.py UID FOLDERS COMMAND...`: FOLDERS, separated as in PATH, are to be reachable. Where
a folder on the way is closed to others (a root's home with a Python in it), one that is open lies over it, with the
wanted folders alone in it.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path


def closed_above(folder: Path) -> Path | None:
    """The topmost folder on the way that others may not enter."""
    way = [*reversed(folder.parents), folder]
    return next((place for place in way if not place.stat().st_mode & 0o001), None)


def main() -> None:
    uid, folders, *command = sys.argv[1:]
    wanted: dict[Path, list[Path]] = {}
    for folder in map(Path, folders.split(os.pathsep)):
        closed = closed_above(folder)
        if closed is not None:
            wanted.setdefault(closed, []).append(folder)
    for closed, inside in wanted.items():
        held = [(folder, tempfile.mkdtemp()) for folder in inside]
        for folder, aside in held:
            subprocess.run(["mount", "--bind", folder, aside], check=True)
        subprocess.run(["mount", "-t", "tmpfs", "-o", "mode=755,size=1m", "none", closed], check=True)
        for folder, aside in held:
            folder.mkdir(parents=True, exist_ok=True)
            subprocess.run(["mount", "--move", aside, folder], check=True)
            Path(aside).rmdir()
    os.setgroups([])
    os.setgid(int(uid))
    os.setuid(int(uid))
    os.environ["HOME"] = "/nonexistent"
    os.execv(command[0], command)


main()
