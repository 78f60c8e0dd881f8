"""`RLM_IMPORT_POLICY=any`: every installed module may be used, inside the same walls."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from rlm_kernel_mcp.in_kernel.walls import namespaces
from tests.mcp.line_client import LineClient

EXECUTABLE_MEMORY = """
import mmap
refused = []
def attempt(name, act):
    try:
        act()
    except OSError as error:
        refused.append(name)
attempt("anonymous", lambda: mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_EXEC))
with open("code", "w+b") as file:
    file.write(bytes(4096))
    file.flush()
    number = file.fileno()
    attempt("a file of its own", lambda: mmap.mmap(number, 4096, mmap.MAP_SHARED, mmap.PROT_READ | mmap.PROT_EXEC))
    attempt("writable too", lambda: mmap.mmap(number, 4096, mmap.MAP_PRIVATE, mmap.PROT_WRITE | mmap.PROT_EXEC))
refused
"""

LATE_THREAD = """
import zmq
context = zmq.Context()
context.socket(zmq.PUB).close()
context.term()
"alive"
"""


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LineClient]:
    """A server under that policy."""
    client = LineClient(Path(tmp_path_factory.mktemp("any")) / "", {"RLM_IMPORT_POLICY": "any"})
    try:
        client.initialize()
        yield client
    finally:
        client.kill()


def test_an_extension_module_that_was_not_loaded_ahead_can_be_imported(client: LineClient) -> None:
    """Its file is mapped after the walls rose."""
    session = client.open_session()
    report = client.run(session, "import sys\nassert '_lsprof' not in sys.modules\nimport _lsprof\n_lsprof.__name__")
    assert report["result"] == "'_lsprof'"


def test_what_code_wrote_can_still_not_be_executed(client: LineClient) -> None:
    """Neither memory nor a file of the scratch directory."""
    session = client.open_session()
    report = client.run(session, EXECUTABLE_MEMORY)
    assert report["result"] == "['anonymous', 'a file of its own', 'writable too']"


def test_a_thread_of_libzmq_that_starts_after_the_walls_ends_no_kernel(client: LineClient) -> None:
    """It sets its scheduler first and aborts where it may not: a kernel's own threads did, now and then, when busy."""
    session = client.open_session()
    report = client.run(session, LATE_THREAD)
    if namespaces.refusal():  # a thread's number could be another process's there
        assert report["status"] == "kernel_died"
    else:
        assert (report["status"], report["result"]) == ("ok", "'alive'")


@pytest.mark.skipif(bool(namespaces.refusal()), reason="the scratch directory is read-only without namespaces")
def test_a_database_in_the_scratch_folder_says_how_it_can_be_had(client: LineClient) -> None:
    """Its locks would be had on whatever can be read, so there are none."""
    session = client.open_session()
    asked = "import sqlite3\nsqlite3.connect(scratch + '/a.db').execute('create table t (x)')"
    error = client.run(session, asked)["error"]
    assert error["ename"] == "OperationalError"
    assert "nolock=1" in error["evalue"]
    assert "nolock=1" in error["traceback"].splitlines()[-1]
    told = """
database = sqlite3.connect(f"file:{scratch}/b.db?nolock=1", uri=True)
with database:
    database.execute("create table t (x)")
    database.execute("insert into t values (1)")
other = sqlite3.connect(f"file:{scratch}/b.db?nolock=1", uri=True)
list(other.execute("select x from t")), sqlite3.connect(":memory:").execute("select 2").fetchall()
"""
    assert client.run(session, told)["result"] == "([(1,)], [(2,)])"
