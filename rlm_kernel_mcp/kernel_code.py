"""Which code runs inside a kernel: the files of this package on the kernel's side, and a hash of them.

Is: what the host, an image's builder and the kernel itself in its container each find for themselves. Is not: a proof:
an image is its user's own. Above: `kernel/placement/container/arguments.py`, `in_kernel/walls/container.py`, the
image's builder. Below: the standard library.
"""

from __future__ import annotations

import hashlib
from functools import cache
from pathlib import Path
from typing import Final

PACKAGE: Final = Path(__file__).resolve().parent


@cache
def kernel_code() -> str:
    """A hash of the part of this package that runs inside a kernel: an image must hold exactly this code."""
    digest = hashlib.sha256()
    for path in kernel_side(PACKAGE):
        digest.update(f"{path.relative_to(PACKAGE).as_posix()}\0".encode() + path.read_bytes() + b"\0")
    return digest.hexdigest()[:16]


def kernel_side(package: Path) -> list[Path]:
    """The files of the package that an image holds."""
    directories = (package / "in_kernel", package / "both_sides")
    inside = (path for one in directories for path in one.rglob("*") if path.suffix in (".py", ".json"))
    ground = (package / name for name in ("__init__.py", "kernel_code.py", "units.py"))
    return sorted([*ground, *package.glob("*wire.py"), *inside])
