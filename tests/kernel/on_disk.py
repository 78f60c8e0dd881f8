"""A directory for files that are mapped: on a disk, since what is in memory is never mapped."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from rlm_kernel_mcp.context.held import lies_in_memory


@contextmanager
def directory_on_disk() -> Iterator[Path]:
    """A directory whose files are not memory."""
    with tempfile.TemporaryDirectory(dir="/var/tmp") as directory:
        probe = os.open(directory, os.O_RDONLY)
        try:
            if lies_in_memory(probe):
                pytest.skip("/var/tmp is memory here")
        finally:
            os.close(probe)
        yield Path(directory)
