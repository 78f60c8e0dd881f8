"""The benchmark works, part by part. What it measures is not a test's business: a figure depends on the machine."""

from __future__ import annotations

import socket
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Final

import pytest
from jupyter_client.connect import LocalPortCache

from bench.__main__ import FLOORS, GROUPS, PARTS
from bench.sides.stock import StockKernel
from tests.parts import ROOT, chromium, require_ray

pytestmark = pytest.mark.slow

AT_ONCE: Final = 4
PART_S: Final = 200.0
"""For one part beside others: a cluster of Ray alone takes a minute to begin and to end."""
Done = subprocess.CompletedProcess[str]


@pytest.fixture(scope="module")
def parts(request: pytest.FixtureRequest) -> Iterator[dict[str, Future[Done]]]:
    """The runs of the parts that are asked for, a few at once: nobody looks at their figures here."""

    def run(name: str) -> Done:
        argv = [sys.executable, "-m", "bench", "--smoke", name]
        return subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, timeout=PART_S, check=False)

    items = [item for item in request.session.items if isinstance(item, pytest.Function)]
    asked = [str(item.callspec.params["name"]) for item in items if "parts" in item.fixturenames]
    with ThreadPoolExecutor(AT_ONCE) as pool:
        yield {name: pool.submit(run, name) for name in asked}


@pytest.mark.timeout(2 * PART_S)
@pytest.mark.parametrize("name", [*PARTS, *FLOORS])
def test_a_part_of_the_benchmark_gives_its_rows(parts: dict[str, Future[Done]], name: str) -> None:
    """Once each and small, as a person would run it by name."""
    if name in ("watch-page", "watch-moves"):
        chromium()
    if name == "cluster":
        require_ray()
    done = parts[name].result()
    assert done.returncode == 0, done.stderr
    _, _, table = done.stdout.partition("\nwhat ")
    assert len(table.splitlines()) > 2, done.stdout


@pytest.mark.anyio
async def test_a_stock_kernel_starts_whatever_becomes_of_the_machine_s_ports(
    short_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that its client has found free may be another program's when the kernel would bind it."""
    with socket.create_server(("127.0.0.1", 0)) as another:
        monkeypatch.setattr(LocalPortCache, "find_available_port", lambda *_: another.getsockname()[1])
        kernel = StockKernel(short_dir)
        try:
            await kernel.start()
            assert (await kernel.step("1"))["status"] == "ok"
        finally:
            await kernel.close()


def test_a_name_of_several_parts_is_none_of_a_part_and_names_parts() -> None:
    """So that `bin/bench exploring` runs what it says."""
    assert not GROUPS.keys() & (PARTS | FLOORS).keys()
    assert {part for parts in GROUPS.values() for part in parts} <= (PARTS | FLOORS).keys()


def test_a_part_that_is_not_there_is_named() -> None:
    """With the list of those that are."""
    argv = [sys.executable, "-m", "bench", "step", "nothing-of-the-kind"]
    done = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == 2
    assert "nothing-of-the-kind" in done.stderr
    assert "step-large" in done.stderr
