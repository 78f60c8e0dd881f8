"""The directories of one kernel on the host's machine.

Is: where its connection file, sockets, policy and scratch lie. Is not: the server's directory, in which these are
(`run_dir.py`). Above: the placements, `builder.py`, `run_dir.py`. Below: the file system.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

from rlm_kernel_mcp.errors import KernelStartFailed


@dataclass(frozen=True, slots=True)
class KernelDir:
    """The directories of one kernel."""

    path: Path

    @property
    def sockets(self) -> Path:
        """0700 directory of the connection file and the ipc sockets."""
        return self.path / "c"

    @property
    def connection_file(self) -> Path:
        return self.sockets / "kernel.json"

    @property
    def socket_stem(self) -> str:
        """`ip` of an ipc connection: the sockets are this with `-1` to `-5` appended."""
        return str(self.sockets / "s")

    @property
    def scratch(self) -> Path:
        return self.path / "w"

    @property
    def policy_file(self) -> Path:
        """The effective policy that the kernel reads."""
        return self.sockets / "policy.json"

    def make(self) -> None:
        """Make the directories below `path`, which exists.

        Raises:
            KernelStartFailed: they cannot be made.
        """
        try:
            self.sockets.mkdir(mode=0o700)
            self.scratch.mkdir(mode=0o700)
        except OSError as error:
            raise unusable("The kernel's directory cannot be made", error) from error

    def make_anew(self) -> None:
        """Empty ones at the same place, for a kernel that replaces one whose processes are gone."""
        shutil.rmtree(self.sockets, ignore_errors=True)
        shutil.rmtree(self.scratch, ignore_errors=True)
        self.make()

    def remove(self) -> None:
        """Remove the kernel's directories; call only when its processes are gone."""
        shutil.rmtree(self.path, ignore_errors=True)


def unusable(what: str, error: OSError) -> KernelStartFailed:
    """The error where a directory cannot be made."""
    return KernelStartFailed(
        f"{what}: {error.strerror}.",
        "Tell the user to free room in, or make writable, the directory of XDG_RUNTIME_DIR, or without it of TMPDIR.",
    )
