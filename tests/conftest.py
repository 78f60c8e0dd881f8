"""What every test shares: the asyncio backend, and a truthful account of what was skipped."""

from __future__ import annotations

import gc
import os
import shutil
import tempfile
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

from tests.warm import fork_servers
from tests.warm import python as warm_python

# No test looks at a clock, on a busy machine either.
settings.register_profile("no clock", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("no clock")

BEGUN_FIRST = "tests/unit/test_papers.py"
"""One test of it takes seconds; by its name it would be begun last, when the other workers have nothing left."""
FORBID_SKIPS = os.environ.get("RLM_FORBID_SKIPS") == "1"


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    """The kernel clients are asyncio's; there is no second backend to test."""
    return "asyncio"


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    """Two workers more than processors (`bin/test`): of a test's time a fifth is spent in waits for a limit.

    With one more than two processors a seventh of them stays unused, measured on a quiet machine.
    """
    return len(os.sched_getaffinity(0)) + 2


def pytest_configure(config: pytest.Config) -> None:
    """A worker of `bin/test` starts many programs; elsewhere each is started as a user does it.

    None meets a host by accident, the user's own or that of another test: tests of hosts have places of their own.
    """
    os.environ["RLM_HOST"] = "off"
    if hasattr(config, "workerinput"):
        warm_python.use()
        fork_servers.use()


def pytest_unconfigure() -> None:
    """The servers that it forked have ended by now, each with its fixture."""
    warm_python.stop_using()
    fork_servers.stop_using()


@pytest.fixture(scope="module")
def started_fork_servers() -> Iterator[None]:
    """For a module whose subject is what a kernel inherits, or when its maker starts or ends (`tests/warm/`)."""
    with fork_servers.started():
        yield


@pytest.fixture
def short_dir() -> Iterator[Path]:
    """A directory of the test's own for sockets, whose paths are bounded; below `tmp_path` they are too long."""
    directory = Path(tempfile.mkdtemp(prefix="r", dir="/tmp"))
    yield directory
    shutil.rmtree(directory)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    _fail_if_skipped(report)
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(
    collector: pytest.Collector,
) -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    report = yield
    _fail_if_skipped(report)
    return report


def _fail_if_skipped(report: pytest.TestReport | pytest.CollectReport) -> None:
    if FORBID_SKIPS and report.skipped and not hasattr(report, "wasxfail"):
        report.outcome = "failed"
        report.longrepr = f"skipped, which RLM_FORBID_SKIPS=1 forbids: {_reason(report)}"


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """What is collected stays to the end, a million objects: no collection of garbage goes through them."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.enable()


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Workers take whole files in this order; all others keep theirs."""
    items.sort(key=lambda item: not item.nodeid.startswith(BEGUN_FIRST))


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """List what was skipped, by reason; the reason names the command that brings what is missing."""
    by_reason: dict[str, list[str]] = {}
    for report in terminalreporter.stats.get("skipped", []):
        by_reason.setdefault(_reason(report), []).append(report.nodeid)
    if not by_reason:
        return
    terminalreporter.section("skipped: these tests did not run", sep="=", yellow=True)
    for reason, names in sorted(by_reason.items()):
        terminalreporter.write_line(f"{reason} ({len(names)} skipped)")
        for name in names:
            terminalreporter.write_line(f"    {name}")


def _reason(report: pytest.TestReport | pytest.CollectReport) -> str:
    text = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
    return text.removeprefix("Skipped: ")
