"""The map of a session's contexts, over a real kernel: what its steps were given, and what it says that it searched."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from concurrent.futures import wait
from typing import Final

import pytest

from rlm_kernel_mcp.notebook.writing.record import notebook_of
from rlm_kernel_mcp.session.registry import Registry
from rlm_kernel_mcp.session.seen.maps import SeenMap
from tests.sessions import AMPLE, WAIT_S, SessionDriver, open_registry

pytestmark = [pytest.mark.anyio, pytest.mark.slow]

TEXTS: Final = {
    f"{number:03}.py": "\n".join(
        f"def function_{number}_{line}(größe):  # of a module with some number or other" for line in range(60)
    )
    for number in range(40)
}
WHOLE: Final = "".join(TEXTS.values())


@pytest.fixture(scope="module")
async def registry(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Registry]:
    directory = tmp_path_factory.mktemp("seen")
    (directory / "root").mkdir()
    for name, text in TEXTS.items():
        (directory / "root" / name).write_text(text, "utf-8")
    async with open_registry(directory / "state", RLM_CONTEXT_ROOTS=str(directory / "root")) as opened:
        yield opened


async def opened(registry: Registry) -> SessionDriver:
    paths = [str(root) for root in registry.settings.context_roots]
    report = await registry.init_context(context_text=None, context_paths=paths, limits=AMPLE)
    return SessionDriver(registry, report.session_id)


async def map_of(session: SessionDriver) -> SeenMap:
    """Once all has been looked for that was delivered."""
    _, left = await asyncio.to_thread(wait, tuple(session.session.told.seen._works), WAIT_S)
    assert not left
    found = SeenMap(session.registry.store, session.session_id)
    found.refresh()
    return found


def delivered(found: SeenMap) -> list[str]:
    return [WHOLE[start:end] for start, end in found.delivered("context", 0, len(WHOLE))]


async def test_a_map_has_what_was_printed_of_hits_spans_and_documents(registry: Registry) -> None:
    """At their places in the context, of which the host has read only these; and how often each part was searched."""
    session = await opened(registry)
    await session.ok("hits = search('function_7_'); count('nothing of this', docs='003.py'); hits[3:5]")
    found = await map_of(session)
    lines = TEXTS["007.py"].split("\n")
    assert delivered(found) == lines[3:5]
    first = WHOLE.index(TEXTS["003.py"])
    bins = found.searched("context", first, first + 2 * len(TEXTS["003.py"]), 2)
    assert bins == b"\2\1"
    assert [place.name for place in found.documents("context")] == list(TEXTS)
    await session.ok("print(hits[40].lines(1).text); print(documents['019.py'][:300])")
    found = await map_of(session)
    shown = ["\n".join(lines[39:42]), TEXTS["019.py"][:300].rpartition("\n")[0]]
    assert delivered(found) == [*lines[3:5], *shown]
    await session.ok("cite(hits[0]), cite(lines(2, doc='001.py'))")
    at = WHOLE.index("function_7_0(")
    assert [place.id for place in found.cited("context")] == ["c2", "c1"]
    assert found.cited("context")[1] == ("c1", at, at + len("function_7_"), False)
    await session.finalize(text="The answer rests on [c1].")
    assert found.cited("context") == [("c1", at, at + len("function_7_"), True)]
    notebook, damaged = notebook_of(registry.store, session.session_id)
    seen = [cell["metadata"]["rlm"].get("seen") for cell in notebook["cells"] if cell["cell_type"] == "code"]
    assert damaged == 0
    assert next(row for row in seen if row)["context"]["searched"] == len(WHOLE)
    assert json.dumps(notebook).isascii()


LIES: Final = {
    "far": "{'passes': {'context': [[0, 10**9, 1]]}, 'shown': [['context', '001.py', 10**9, 10**9 + 5]]}",
    "paths": "{'shown': [['context', '/etc/passwd', 0, 50], ['context', '../../etc/passwd', 0, 50]]}",
    "many": "{'passes': {'context': [[0, 1, 1]] * 9_000}, 'shown': [['context', '001.py', 0, 5]] * 9_000}",
    "long": "{'passes': {'x' * 10**5: [[0, 5, 1]]}, 'shown': [['x' * 10**5, 'y' * 10**5, 0, 5]]}",
}
"""What code makes its kernel say. More does not come through: it is no message any more, and the kernel ends."""


@pytest.mark.parametrize("lie", LIES)
async def test_a_kernel_that_lies_about_it_paints_nothing_on_the_map(registry: Registry, lie: str) -> None:
    """Its session goes on, and the record stays small."""
    session = await opened(registry)
    await session.ok(f"told = getattr(cite, '__glo' + 'bals__'); told['take'] = lambda: {LIES[lie]}")
    await session.ok(
        "told['_shown'] = lambda: told['take']().get('shown'); print('a line that stands nowhere', '.' * 50)"
    )
    assert (await session.ok("1 + 1")).result == "2"
    found = await map_of(session)
    assert delivered(found) == []
    bins = found.searched("context", 0, len(WHOLE))
    assert bins is None or set(bins) <= {0, 1, 3}
    assert sum(len(row.data or b"") for row in registry.store.seen.of(session.session_id)) < 1_000
