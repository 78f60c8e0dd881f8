"""Less than a test's user may do: file modes that bind, and mounts of the test's own.

Is: what tests of bad disks and of other users' servers share, as root and as an ordinary user. Is not: a sandbox.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.parts import skip_for_lack_of

NOBODY = 65534


@contextmanager
def without_root_rights(*owned: Path) -> Iterator[None]:
    """Run as a user whom file modes bind, and who owns these directories."""
    if os.geteuid() != 0:
        yield
        return
    for directory in owned:
        os.chown(directory, NOBODY, NOBODY)
    os.setegid(NOBODY)
    os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(0)
        os.setegid(0)


@contextmanager
def reachable_directory() -> Iterator[Path]:
    """A directory that the user of `without_root_rights` can reach; pytest's own are root's alone."""
    directory = Path(tempfile.mkdtemp(prefix="rlm-test-"))
    directory.chmod(0o755)
    try:
        yield directory
    finally:
        for path in [directory, *directory.iterdir()]:
            path.chmod(0o700)
        shutil.rmtree(directory)


@contextmanager
def place_of_server(uid: int | None, prefix: str) -> Iterator[Path]:
    """A server's working directory, and beside it its state directory, both this user's; None: who runs the tests."""
    with tempfile.TemporaryDirectory(prefix=prefix) as name:
        directory = Path(name)
        work, state = directory / "work", directory / "work.state"
        for made in (directory, work, state):
            made.mkdir(exist_ok=True)
            made.chmod(0o755 if made is directory else 0o700)
            if uid is not None:
                os.chown(made, uid, uid)
        yield work


def in_own_mounts() -> list[str]:
    """What a command begins with that may mount what it likes, for itself alone; skips where nobody may."""
    command = ["unshare", "--mount"] if os.geteuid() == 0 else ["unshare", "--mount", "--map-root-user"]
    with reachable_directory() as directory:
        trial = [*command, "mount", "-t", "tmpfs", "none", str(directory)]
        if subprocess.run(trial, check=False, capture_output=True).returncode:
            skip_for_lack_of("a mount namespace", "sysctl -w kernel.unprivileged_userns_clone=1, or run as root")
    return command
