"""Whose roots count: a connection's own, and those that a session was opened with, whoever uses it."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import AsyncIterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from rlm_kernel_mcp.context.sources import Sources, resolve_sources
from rlm_kernel_mcp.errors import ContextDenied
from rlm_kernel_mcp.session.callers.caller import Caller, give_to
from rlm_kernel_mcp.session.context_reports import ContextReport
from rlm_kernel_mcp.session.contexts import source
from rlm_kernel_mcp.session.contexts.given import Given, Options
from rlm_kernel_mcp.session.registry import Registry
from rlm_kernel_mcp.settings import load_settings
from tests.fake_kernel import Fakes, fake_registry
from tests.losses import lost
from tests.sessions import AMPLE, SessionDriver

pytestmark = pytest.mark.anyio


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """Directories of two clients, and one that both may read."""
    for name in ("a/own.txt", "b/own.txt", "both/c.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(f"of {name}")
    return tmp_path


def caller(place: Path, name: str) -> Caller:
    """A client that works in its own directory."""
    roots = f"{place}/{name}:{place}/both"
    return Caller.of(name, load_settings(place / name, {"RLM_CONTEXT_ROOTS": roots, "RLM_STATE_DIR": str(place / "s")}))


@pytest.fixture
async def fakes(place: Path) -> AsyncIterator[Fakes]:
    """A registry that has no client of its own: what is allowed there is nothing that these tests use."""
    async with fake_registry(
        place / "s", RLM_CONTEXT_ROOTS="/var/empty" if Path("/var/empty").is_dir() else "/"
    ) as one:
        yield one


async def opened(registry: Registry, by: Caller, *paths: str) -> SessionDriver:
    report = await registry.init_context(context_text=None, context_paths=paths, limits=AMPLE, caller=by)
    return SessionDriver(registry, report.session_id)


async def add(session: SessionDriver, by: Caller, name: str, paths: Sequence[str]) -> ContextReport:
    added = await session.registry.add_context(session.session_id, Given(paths=tuple(paths)), Options(name), by)
    assert isinstance(added.context, ContextReport)
    return added.context


async def test_each_client_of_one_registry_loads_below_its_own_roots(fakes: Fakes, place: Path) -> None:
    """From its own working directory, and never from another's or the server's."""
    for name, other in (("a", "b"), ("b", "a")):
        one = caller(place, name)
        session = await opened(fakes.registry, one, "own.txt")
        assert (await session.ok("context")).result == f"'of {name}/own.txt'"
        for denied in (f"{place}/{other}/own.txt", f"../{other}/own.txt"):
            with pytest.raises(ContextDenied, match=f"which are '{place}/{name}', '{place}/both'"):
                await opened(fakes.registry, one, denied)


async def test_a_registry_opens_no_roots_beside_those_of_its_client(place: Path) -> None:
    """What a client of its own process has open is what counts; twice as many would be open for nothing."""
    root = place / "a"
    async with fake_registry(place / "s", RLM_CONTEXT_ROOTS=str(root)) as fakes:
        with closing(Caller.of("the client", fakes.registry.settings)) as client:
            give_to(fakes.registry, client)
            await opened(fakes.registry, client, f"{root}/own.txt")
            assert fakes.registry.own is client
            assert [os.path.realpath(entry) for entry in Path("/proc/self/fd").iterdir()].count(str(root)) == 1


async def test_what_is_added_lies_below_the_roots_of_the_session_and_of_whoever_adds_it(
    fakes: Fakes, place: Path
) -> None:
    """A handle gives its holder the session's data, and opens nothing more to anybody."""
    session = await opened(fakes.registry, caller(place, "a"), "own.txt")
    guest = caller(place, "b")
    await add(session, guest, "shared", ["../both/c.txt"])
    for denied in ("own.txt", f"{place}/a/own.txt"):
        with pytest.raises(ContextDenied, match=f"which are '{place}/both'"):
            await add(session, guest, "more", [denied])
    await add(session, caller(place, "a"), "more", ["own.txt"])


async def test_a_session_keeps_its_roots_when_its_client_has_left(fakes: Fakes, place: Path) -> None:
    """A kernel that is replaced has its contexts again, for whoever holds the handle."""
    host = caller(place, "a")
    session = await opened(fakes.registry, host, "own.txt")
    host.close()
    with pytest.raises(ContextDenied):
        await opened(fakes.registry, host, f"{place}/a/own.txt")
    await session.kernel.kill("the test's wish")
    report = await session.ok("context")
    assert (report.result, lost(report)) == ("'of a/own.txt'", {})


async def test_a_session_that_comes_back_in_another_server_uses_the_roots_that_it_was_opened_with(
    place: Path,
) -> None:
    """And no others: not those of that server, nor of the client that brings it back."""
    async with fake_registry(place / "s") as first:
        session = await opened(first.registry, caller(place, "a"), "own.txt")
    async with fake_registry(place / "s", RLM_CONTEXT_ROOTS=f"{place}/b") as second:
        session = SessionDriver(second.registry, session.session_id)
        report = await session.ok("context")
        assert (report.result, lost(report)) == ("'of a/own.txt'", {})
        with pytest.raises(ContextDenied, match="no directory in common"):
            await add(session, Caller.of("x", second.registry.settings), "more", [f"{place}/b/own.txt"])


async def test_a_record_from_before_roots_were_kept_comes_back_by_those_of_who_brings_it_back(place: Path) -> None:
    """A host has none of its own; and no other client widens them then."""
    host = caller(place, "a")
    async with fake_registry(place / "s") as first:
        session = await opened(first.registry, host, "own.txt")
    async with fake_registry(place / "s") as second:
        store, own_id = second.registry.store, session.session_id
        record = store.session(own_id)
        assert record is not None
        kept = {key: value for key, value in json.loads(record.context_ref).items() if "root" not in key}
        store.update_session(own_id, context_ref=json.dumps(kept))
    async with fake_registry(place / "s", RLM_CONTEXT_ROOTS=f"{place}/both") as third:
        report = await third.registry.run_repl(
            own_id, "context", timeout_ms=None, wait_ms=60_000, max_output_chars=100, caller=host
        )
        assert (report.result, lost(report)) == ("'of a/own.txt'", {})
        with pytest.raises(ContextDenied, match="is outside the allowed roots"):
            await add(SessionDriver(third.registry, own_id), caller(place, "b"), "more", [f"{place}/b/own.txt"])


async def test_a_root_that_was_replaced_between_two_servers_is_not_the_session_s(place: Path) -> None:
    """Whatever has the same content there: it is another directory, and the loss report says so."""
    host = caller(place, "a")  # keeps the directory open, so that the next one has another number
    async with fake_registry(place / "s") as first:
        session = await opened(first.registry, host, "own.txt")
    (place / "a").rename(place / "was")
    (place / "a").mkdir()
    (place / "a/own.txt").write_text("of a/own.txt")
    async with fake_registry(place / "s") as second:
        session = SessionDriver(second.registry, session.session_id)
        gone = lost(await session.run("1"))
        assert "moved, removed or replaced since it was opened" in gone["context"]


async def test_a_session_added_to_by_a_guest_comes_back_by_the_roots_of_both(place: Path) -> None:
    """Each context by those that it was loaded by."""
    async with fake_registry(place / "s") as first:
        session = await opened(first.registry, caller(place, "a"), "own.txt")
        await add(session, caller(place, "b"), "shared", ["../both/c.txt"])
    async with fake_registry(place / "s", RLM_CONTEXT_ROOTS=f"{place}/b") as second:
        session = SessionDriver(second.registry, session.session_id)
        assert lost(await session.ok("1")) == {}
        [_, shared] = session.session.contexts.contexts.all
        assert shared.source.roots is not None
        assert {frozenset(one) for one in shared.source.roots.paths} == {
            frozenset({f"{place}/{name}", f"{place}/both"}) for name in ("a", "b")
        }


async def test_directories_are_open_as_long_as_their_connection_is_there(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And a registry's own as long as that: each is closed at once, whatever refers to it; a session has none."""
    closed: set[int] = set()
    close = os.close

    def noted(descriptor: int) -> None:
        closed.add(descriptor)
        close(descriptor)

    def open_in(client: Caller) -> set[int | None]:
        return {root._descriptor for one in client.roots.sets for root in one}

    async with fake_registry(place / "s") as fakes:
        client = caller(place, "a")
        session = await opened(fakes.registry, client, "own.txt")
        await add(session, client, "more", ["../both/c.txt"])
        theirs, own = open_in(client), open_in(fakes.registry.own)
        contexts = session.session.contexts.contexts
        held = [contexts.roots, *(one.source.roots for one in contexts.all)]
        assert {root._descriptor for roots in held if roots for one in roots.sets for root in one} == {None}
        monkeypatch.setattr(os, "close", noted)
        client.close()
        assert theirs <= closed
        assert not own & closed
    assert own <= closed


@pytest.mark.parametrize("is_listed", [True, False])
@pytest.mark.parametrize("is_added", [True, False])
async def test_a_load_goes_on_by_its_client_s_roots_after_that_has_left(
    fakes: Fakes, place: Path, is_listed: bool, is_added: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The client leaves before the files are listed, or between that and the first of them."""
    client, goes_on, real = caller(place, "a"), threading.Event(), resolve_sources
    first = await fakes.registry.init_context(
        context_text="a text", context_paths=None, limits=AMPLE, caller=caller(place, "a")
    )

    def waiting(*given: Any, **more: Any) -> Sources:
        found = real(*given, **more) if is_listed else None
        assert goes_on.wait(60)
        return found or real(*given, **more)

    monkeypatch.setattr(source, "resolve_sources", waiting)
    options, paths = Options("late", wait_ms=1), ("own.txt",)
    if is_added:
        session_id = first.session_id
        await fakes.registry.add_context(session_id, Given(paths=paths), options, client)
    else:
        opened_now = await fakes.registry.init_context(
            context_text=None, context_paths=paths, limits=AMPLE, caller=client, options=options
        )
        session_id = opened_now.session_id
    client.close()
    goes_on.set()
    report = await SessionDriver(fakes.registry, session_id).ok("1")
    assert "late is loaded: 12 characters in 1 document" in (report.note or "")
