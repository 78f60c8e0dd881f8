"""What a kernel makes is bytes to every node and to the shared store, whatever it is called or however pickled."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from tests.cluster.node.nodes import here

pytestmark = pytest.mark.slow

EVIL = """
class Evil:
    def __reduce__(self):
        return (exec, ("open('PATH', 'w').close()",))
evil = Evil()
kept = 7
"""
NAMES = """
for name in ("../../up", "a/b", "record", "value:x", "rows", ".lock", "n" * 900, "\\ud800", "a\\0b", ""):
    globals()[name] = name * 2
kept = 7
"""


def test_a_hostile_pickle_is_run_by_no_node_and_the_other_values_come(short_dir: Path) -> None:
    async def main() -> None:
        async with here(short_dir, "one", "two") as (one, two):
            session_id = await one.opened()
            ran = short_dir / "ran"
            await one.step(session_id, EVIL.replace("PATH", str(ran)))
            await two.adopt(session_id, 2)
            assert (await two.step(session_id, "kept"))["result"] == "7"
            assert not ran.exists()

    asyncio.run(main())


def test_names_that_look_like_paths_or_keys_are_names(short_dir: Path) -> None:
    async def main() -> None:
        async with here(short_dir, "one", "two") as (one, two):
            session_id = await one.opened()
            await one.step(session_id, NAMES)
            await two.adopt(session_id, 2)
            report = await two.step(session_id, "kept, globals().get('a/b'), globals().get('../../up')")
            assert report["result"].startswith("(7, ")
            assert {path.name for path in short_dir.iterdir()} <= {"state", "shared"}

    asyncio.run(main())


def test_a_large_record_comes_whole(short_dir: Path) -> None:
    async def main() -> None:
        async with here(short_dir, "one", "two") as (one, two):
            session_id = await one.opened("c" * 3_000_000)
            await one.step(session_id, "print('o' * 2_000_000)")
            await two.adopt(session_id, 2)
            assert (await two.step(session_id, "len(context)"))["result"] == "3000000"
            page = await two.data("rlm_get_trace", session_id=session_id, detail="full", from_step=1, to_step=1)
            (event,) = (one for one in page["events"] if one["action"] == "run_repl")
            assert event["result_status"] == "ok"

    asyncio.run(main())
