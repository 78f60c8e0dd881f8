"""A file system of a few MB that can be filled to the last byte."""

from __future__ import annotations

import errno
import os
import subprocess
from pathlib import Path
from typing import Final

DISK_MB: Final = 48


class SmallDisk:
    """A tmpfs below a test's directory."""

    def __init__(self, path: Path) -> None:
        self._path = path

    @classmethod
    def mount(cls, path: Path) -> SmallDisk | None:
        """Mount it at a directory that is made; None where this user may not."""
        path.mkdir(mode=0o700)
        if os.geteuid() != 0:
            return None
        options = f"size={DISK_MB}m,mode=700"
        mounted = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", options, "soak", path], capture_output=True, check=False
        )
        return cls(path) if mounted.returncode == 0 else None

    def fill(self) -> None:
        """Take every byte that is left."""
        with (self._path / "filler").open("wb", buffering=0) as file:
            for size in (1 << 20, 1 << 12, 1):
                try:
                    while True:
                        file.write(bytes(size))
                except OSError as error:
                    if error.errno != errno.ENOSPC:
                        raise

    def free(self) -> None:
        (self._path / "filler").unlink()

    def unmount(self) -> None:
        subprocess.run(["umount", "-l", self._path], check=True)
