"""The scratch directory is bounded in bytes and files, or read-only; nothing of it is left at the end."""

from __future__ import annotations

from pathlib import Path

import pytest

from rlm_kernel_mcp.wire import READ_ONLY_SCRATCH
from tests.escape.bombs.machine import GROWTH_BYTES_MAX, Machine
from tests.mcp.line_client import ENDLESS_CALL

SCRATCH_MB = 64
FILLS = {
    "one large file": """
written = 0
with open("large", "wb", buffering=0) as file:
    try:
        while True:
            written += file.write(bytes(1 << 20))
    except OSError as error:
        why = error.errno
written >> 20, why
""",
    "many large files, after it": """
written = 0
try:
    for number in range(100):
        with open(f"large-{number}", "wb", buffering=0) as file:
            for _ in range(10):
                written += file.write(bytes(1 << 20))
except OSError as error:
    why = error.errno
written >> 20, why
""",
    "a sparse file": """
why = None
with open("sparse", "wb") as file:
    try:
        file.truncate(1 << 40)
    except OSError as error:
        why = error.errno
why
""",
    "many small files": """
made = 0
try:
    while True:
        with open(f"small-{made}", "wb"):
            made += 1
except OSError as error:
    why = error.errno
made, why
""",
}
DIRECTORIES = """
import os
for name in os.listdir(scratch):
    os.unlink(name)
made = 0
try:
    while made < 3000:
        os.mkdir("d")
        os.chdir("d")
        made += 1
finally:
    os.chdir(scratch)
made
"""
EFBIG, ENOSPC = 27, 28


def outside(machine: Machine, session: str) -> Path:
    """The directory on the host that the scratch directory's path names."""
    return Path(machine.record(session).connection_file).parents[1] / "w"


@pytest.mark.slow
@pytest.mark.parametrize("machine", ["ns-allowlist", "ns-any"], indirect=True)
def test_a_full_scratch_folder_ends_at_its_quota_and_leaves_nothing(machine: Machine) -> None:
    """Whatever fills it; nothing of it is ever on the host's disk, and a fresh kernel's is empty."""
    session = machine.open_session()
    before, directory = machine.host_bytes(session), outside(machine, session)
    ends = {name: machine.client.run(session, code)["result"] for name, code in FILLS.items()}
    assert ends["one large file"] == f"({SCRATCH_MB}, {EFBIG})"
    assert ends["many large files, after it"] == f"(0, {ENOSPC})"
    assert ends["a sparse file"] == str(EFBIG)
    made, why = ends["many small files"].strip("()").split(", ")
    assert 4000 < int(made) < 4096
    assert why == str(ENOSPC)
    assert list(directory.iterdir()) == []
    machine.still_has_its_value(session)
    report = machine.client.run(session, ENDLESS_CALL, timeout_ms=600)
    assert report["lost"] is not None
    assert machine.client.run(session, "open('first', 'x').write('x')")["result"] == "1"
    assert machine.host_bytes(session) - before < GROWTH_BYTES_MAX
    directory = outside(machine, session)
    assert directory.is_dir()
    machine.end_session(session)
    assert not directory.parent.exists()


@pytest.mark.slow
@pytest.mark.parametrize("machine", ["ns-any"], indirect=True)
def test_folders_3000_deep_leave_nothing(machine: Machine) -> None:
    """Nobody has to walk down to remove them."""
    session = machine.open_session()
    directory = outside(machine, session)
    assert machine.client.run(session, DIRECTORIES)["result"] == "3000"
    assert list(directory.iterdir()) == []
    machine.end_session(session)
    assert not directory.parent.exists()


@pytest.mark.parametrize("machine", [pytest.param("lock-allowlist", marks=pytest.mark.slow), "lock-any"], indirect=True)
def test_where_no_quota_can_be_had_the_scratch_folder_is_read_only_and_says_so(machine: Machine) -> None:
    """In what a client is told of the name and of the walls; under the shipped policy in the error too."""
    opened = machine.client.data("rlm_init_context", context_text="some text")
    session = opened["session_id"]
    assert READ_ONLY_SCRATCH in opened["namespace"]["scratch"]
    (missing,) = (wall for wall in opened["walls_missing"] if wall["name"] == "scratch_quota")
    assert READ_ONLY_SCRATCH in missing["reason"]
    for mode in ("w", "ab", "x"):
        error = machine.client.run(session, f"open('a', {mode!r})")["error"]
        assert error["ename"] == "PermissionError"
        assert READ_ONLY_SCRATCH in error["evalue"] or machine.import_policy == "any"
    if machine.import_policy == "any":
        assert machine.client.run(session, DIRECTORIES)["error"]["ename"] == "PermissionError"
    directory = outside(machine, session)
    assert list(directory.iterdir()) == []
    machine.end_session(session)
    assert not directory.parent.exists()


@pytest.mark.parametrize("machine", ["ns-allowlist"], indirect=True)
def test_where_there_is_a_quota_the_scratch_folder_is_not_said_to_be_read_only(machine: Machine) -> None:
    """The line on the name is true of this kernel."""
    opened = machine.client.data("rlm_init_context", context_text="some text")
    assert "read and write" in opened["namespace"]["scratch"]
    machine.end_session(opened["session_id"])
