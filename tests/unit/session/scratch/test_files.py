"""The files of a session's scratch directory are asked of the kernel that it has, and a kernel may say anything."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

import pytest

from rlm_kernel_mcp.context_wire import FILE_PART_BYTES, LIST_FILES, READ_FILE
from rlm_kernel_mcp.errors import InvalidInput, KernelDied, SessionElsewhere
from rlm_kernel_mcp.host.kinds.hosted_calls import HostedCalls
from rlm_kernel_mcp.host.kinds.persons import file_part, list_files
from rlm_kernel_mcp.session.kernels import variables
from rlm_kernel_mcp.session.scratch.reports import FilePart, ScratchFile, ScratchFiles
from tests.fake_kernel import FOREVER, FakeKernel, Fakes, OneRegistry
from tests.sessions import SessionDriver, end_session

pytestmark = pytest.mark.anyio


def honest(kernel: FakeKernel, files: dict[str, bytes]) -> None:
    """Have it answer as a kernel of ours does."""

    def sent(asked: dict[str, object]) -> dict[str, object]:
        data = files[str(asked["name"])]
        start = int(str(asked["offset"]))
        some = data[start : start + FILE_PART_BYTES]
        return {"data": base64.b64encode(some).decode(), "version": "1", "last": start + len(some) >= len(data)}

    kernel.says[LIST_FILES] = lambda _: {"files": [[name, len(data)] for name, data in files.items()], "left_out": {}}
    kernel.says[READ_FILE] = sent


async def listed(session: SessionDriver) -> ScratchFiles:
    return await list_files(session.registry, session.session_id, session.registry.own)


async def read(session: SessionDriver, name: object, offset: object = 0) -> FilePart:
    arguments = {"name": name, "offset": offset}
    return await file_part(session.registry, session.session_id, session.registry.own, arguments)


async def test_files_are_listed_and_read_also_while_a_step_runs(fakes: Fakes) -> None:
    """It is no step, and costs no budget."""
    session, kernel = await fakes.open()
    honest(kernel, {"a": b"x" * FILE_PART_BYTES + b"end", "../x": b""})
    await session.begin(FOREVER)
    before = session.session.counters
    assert (await listed(session)).files == (ScratchFile("../x", 0), ScratchFile("a", FILE_PART_BYTES + 3))
    assert (await read(session, "a", FILE_PART_BYTES)) == FilePart("ZW5k", "1", last=True)
    assert (await read(session, "a")).last is False
    assert session.session.counters == before
    await session.interrupt()


async def test_a_kernel_that_answers_with_something_else_is_said_to_and_lives(fakes: Fakes) -> None:
    session, kernel = await fakes.open()
    with pytest.raises(KernelDied, match="did not list its files"):
        await listed(session)
    kernel.says[READ_FILE] = lambda _: {"data": "eA==", "version": "1", "last": False}
    with pytest.raises(KernelDied, match="sent 1 bytes"):
        await read(session, "a")
    assert (await session.ok("1 + 1")).result == "2"


async def test_a_kernel_that_is_silent_is_not_waited_for(fakes: Fakes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(variables, "READ_TIMEOUT_S", 0.1)
    session, kernel = await fakes.open()
    kernel.deaf.add(LIST_FILES)
    with pytest.raises(KernelDied, match="did not answer"):
        await listed(session)


async def test_no_kernel_is_started_for_it(fakes: Fakes) -> None:
    """A fresh one would have no files."""
    session, _ = await fakes.open()
    await session.session.stop_kernel("it was idle")
    for asked in (listed(session), read(session, "a")):
        with pytest.raises(KernelDied, match="has no kernel just now"):
            await asked
    assert len(fakes.kernels) == 1


async def test_a_kernel_that_comes_meanwhile_is_not_the_one_that_had_the_files(
    fakes: Fakes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It would say that there are none."""
    session, _ = await fakes.open()
    live = session.session.kernel.live

    async def replaced(*given: Any) -> Any:
        await session.session.kernel.drop("it was killed", settle_s=0)
        return await live(*given)

    monkeypatch.setattr(session.session.kernel, "live", replaced)
    with pytest.raises(KernelDied, match="has no kernel just now"):
        await listed(session)
    assert not any(LIST_FILES in one.heard for one in fakes.kernels)


async def test_a_session_of_another_process_is_not_brought_here_for_it(fakes: Fakes) -> None:
    """Its kernel would end with that, and its files with the kernel."""
    session, _ = await fakes.open()
    await end_session(session)
    for asked in (listed(session), read(session, "a")):
        with pytest.raises(SessionElsewhere, match="not in the host that was asked"):
            await asked
    assert session.session_id not in fakes.registry.handles.sessions


@pytest.mark.parametrize(
    ("name", "offset"),
    [(None, 0), ("", 0), (3, 0), ("x" * 5_000, 0), ("a", None), ("a", -1), ("a", True), ("a", 1.0), ("a", 1 << 60)],
)
async def test_what_names_no_part_of_a_file_is_refused(fakes: Fakes, name: object, offset: object) -> None:
    session, kernel = await fakes.open()
    with pytest.raises(InvalidInput):
        await read(session, name, offset)
    assert READ_FILE not in kernel.heard


async def test_a_program_s_connection_takes_nothing_over_by_asking(fakes: Fakes, tmp_path: Path) -> None:
    """Its end ends no kernel that it has only looked at."""
    session, kernel = await fakes.open()
    honest(kernel, {str(tmp_path): b"x"})
    calls = HostedCalls(OneRegistry(fakes.registry), fakes.registry.settings, fakes.registry.own)
    asked = {"session_id": session.session_id}
    assert (await calls.files(asked)).files == (ScratchFile(str(tmp_path), 1),)
    assert (await calls.file_part({**asked, "name": str(tmp_path), "offset": 0})).data == "eA=="
    await calls.let_all_go()
    assert session.session.has_kernel
    with pytest.raises(InvalidInput, match="session_id must be text"):
        await calls.files({"session_id": 3})
