"""What code makes in its scratch directory is listed and sent by its kernel, and no link of it leads anywhere."""

from __future__ import annotations

import base64

import pytest

from rlm_kernel_mcp.errors import KernelDied
from rlm_kernel_mcp.session.scratch.files import list_files, read_part
from tests.sessions import SessionDriver

pytestmark = pytest.mark.anyio

HOSTILE = """
import os
def tried(make, *words):
    try:
        make(*words)
    except OSError:
        pass
os.mkdir(scratch + '/d')
open(scratch + '/d/file', 'w').write('its own')
tried(os.symlink, '/etc/passwd', scratch + '/link')
tried(os.symlink, '/', scratch + '/root')
tried(os.symlink, 'd', scratch + '/linked')
tried(os.mkfifo, scratch + '/fifo')
open(scratch + '/' + chr(27) + '[2J' + chr(10), 'w').write('x')
with open(scratch + '/sparse', 'w') as file:
    file.truncate(3_000_000)
"""
"""Needs every module. Where Landlock holds there is neither a link nor a FIFO."""


async def read(session: SessionDriver, name: str) -> bytes:
    part = await read_part(session.session.kernel, session.session_id, name, 0)
    return base64.b64decode(part.data)


async def test_files_come_out_and_what_is_none_does_not(any_session: SessionDriver) -> None:
    """Neither by a link nor by a name."""
    await any_session.ok(HOSTILE)
    found = await list_files(any_session.session.kernel, any_session.session_id)
    assert [(file.name, file.size_bytes) for file in found.files] == [
        ("\x1b[2J\n", 1),
        ("d/file", 7),
        ("sparse", 3_000_000),
    ]
    assert found.left_out in ({}, {"link": 3, "other": 1})
    assert await read(any_session, "d/file") == b"its own"
    assert await read(any_session, "\x1b[2J\n") == b"x"
    for name in ("link", "root/etc/passwd", "linked/file", "fifo", "d", "../c", "/etc/passwd", "d/../d/file"):
        with pytest.raises(KernelDied, match="did not send the file"):
            await read(any_session, name)
    assert (await any_session.ok("6 * 7")).result == "42"


async def test_they_come_out_of_a_kernel_whose_code_holds_all_descriptors(any_session: SessionDriver) -> None:
    """It keeps room for its host."""
    await any_session.ok(f"{HOSTILE}\nheld = []")
    await any_session.ok("try:\n    while True: held.append(os.dup(0))\nexcept OSError: pass")
    found = await list_files(any_session.session.kernel, any_session.session_id)
    assert len(found.files) == 3
    assert await read(any_session, "d/file") == b"its own"
