"""A fresh home with our kernelspec in it, and the programs of the environment with real Jupyter clients.

Is: what a user has after README's `rlm-kernel-mcp kernelspec install`. Is not: our own server: nothing here knows MCP.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

from tests.parts import lab_python, skip_for_lack_of
from tests.rights import NOBODY

WAIT_S: Final = 60
STOCK: Final = "python3"
LOCKED: Final = "rlm-python"
AS_ANOTHER_USER: Final = """
set -e
if [ -n "$1" ]; then
    kept=$(mktemp -d)
    mount --bind "$2" "$kept"
    mount -t tmpfs -o mode=755 none "$1"
    mkdir -p "$2"
    mount --move "$kept" "$2"
fi
user=$3
shift 3
exec setpriv --reuid "$user" --regid "$user" --clear-groups "$@"
"""
"""Opens, for what it starts alone, the way to a Python below a private directory ($1) at its place ($2)."""


@dataclass(frozen=True)
class Home:
    """A user's home, and the environment of what that user starts."""

    directory: Path
    env: Mapping[str, str]
    other_user: bool = False
    """Whether it is the home of another, ordinary user than the test's own."""

    @classmethod
    def make(cls, directory: Path, *, other_user: bool = False, **variables: str) -> Home:
        """A home in which our kernelspec was installed by the command that README names."""
        directory.mkdir(exist_ok=True)
        path = f"{lab_python().parent}:{os.environ['PATH']}"
        env = {"HOME": str(directory), "PATH": path, "LANG": "C.UTF-8", "TMPDIR": tempfile.gettempdir(), **variables}
        if other_user:
            if os.geteuid() != 0:
                skip_for_lack_of("the right to become another user", "run it as root")
            os.chown(directory, NOBODY, NOBODY)
        home = cls(directory, env, other_user)
        installed = home.run("rlm-kernel-mcp", "kernelspec", "install")
        assert installed.returncode == 0, installed.stderr
        return home

    def command(self, *argv: str) -> list[str]:
        """The argument list that runs one of the environment's programs as this home's user."""
        program = [str(lab_python().parent / argv[0]), *argv[1:]]
        if not self.other_user:
            return program
        private, kept = _private_way(lab_python().resolve())
        return ["unshare", "--mount", "sh", "-c", AS_ANOTHER_USER, "sh", private, kept, str(NOBODY), *program]

    def popen(self, *argv: str, **options: Any) -> subprocess.Popen[str]:
        """Start a program in this home."""
        command = self.command(*argv)
        return subprocess.Popen(
            command,
            env=self.env,
            cwd=self.directory,
            stdin=subprocess.DEVNULL,
            text=True,
            start_new_session=True,
            **options,
        )

    def run(self, *argv: str) -> subprocess.CompletedProcess[str]:
        """Run a program to its end."""
        with self.popen(*argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as child:
            try:
                out, err = child.communicate(timeout=WAIT_S)
            except BaseException:
                child.kill()
                raise
        return subprocess.CompletedProcess(argv, child.returncode, out, err)

    def write(self, name: str, text: str) -> Path:
        """A file of this home's user."""
        path = self.directory / name
        path.write_text(text, encoding="utf-8")
        shutil.chown(path, NOBODY if self.other_user else os.getuid())
        return path


def _private_way(python: Path) -> tuple[str, str]:
    """The topmost directory above a Python that only its owner may enter, and what in it leads to the Python."""
    way = [*reversed(python.parents)]
    for directory, inner in pairwise(way):
        if not directory.stat().st_mode & 0o001:
            return str(directory), str(inner)
    return "", ""
