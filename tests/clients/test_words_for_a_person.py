"""Whoever starts our kernel in a client of their own is spoken to as a person: without tools that they do not have."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import psutil
import pytest

from tests.clients.client import WAIT_S, Client, started
from tests.processes import left_over

OURS: Final = ("rlm_", "step", "agent", "the user", "documents", "`context`", "walls_missing")
"""What stands in the words for a model."""
SAID: Final = {
    "import os": "open(), os.path and pathlib work in the directory `scratch`; RLM_IMPORTS in the environment",
    "import glob": "the directory `scratch`",
    "import subprocess": "no process can be started; use concurrent.futures.ThreadPoolExecutor",
    "import socket": "there is no network",
    "import signal": "no handler can be set; an interrupt ends a long cell",
    "import sched": "RLM_IMPORTS=sched in the environment of your client adds it",
    "import numpy as np": "environment of your client adds it; the kernelspec rlm-python-data has it",
    **dict.fromkeys(("import pickle", "import shelve"), "names persist from cell to cell; json writes text"),
    "import colections": "did you mean collections?",
    "open('/etc/passwd')": "it works in the scratch directory only (path: `scratch`).",
    "input('name?')": "this client takes no answers; put the value into the code",
    "!ls": "no process can be started in a session; use Python",
    "%pip install pandas": "%pip is refused by the policy of this session",
    "Out[1]": "`_` is the last one",
    **dict.fromkeys(
        ("llm_query('x')", "llm_query_batched(['x'])", "rlm_query('x', 'y')"),
        "off: No language model can be asked here",
    ),
    **dict.fromkeys(("FINAL('x')", "FINAL_VAR(x)", "llm_batch(['x'])", "ctx", "docs", "SHOW_VARS()"), "is not defined"),
    **dict.fromkeys(("rlm_finalize('x')", "rlm_get_var('x')", "await_step(1)"), "is not defined"),
}


@pytest.fixture(scope="module")
def ours() -> Iterator[Client]:
    """Our kernel, started by a foreign client."""
    with tempfile.TemporaryDirectory(prefix="rlm-") as directory, pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_RUNTIME_DIR", directory)
        with started("rlm-python", Path(directory)) as client:
            yield client


@pytest.mark.parametrize("code", SAID)
def test_a_refusal_speaks_to_a_person(ours: Client, code: str) -> None:
    """It says what works, in as few words, and names nothing that is an agent's."""
    reply = ours.run(code).reply
    assert reply["status"] == "error"
    said = "\n".join(reply["traceback"]).replace(code, "")
    assert SAID[code] in said
    assert [word for word in OURS if word in said.replace(code.partition("(")[0], "")] == []
    assert len(said) <= 500


@pytest.mark.parametrize(
    ("name", "code", "kept"),
    [("python3", "exit", False), ("rlm-python", "exit", False), ("rlm-python", "quit(keep_kernel=True)", True)],
)
def test_exit_ends_the_kernel_unless_it_is_to_be_kept(name: str, code: str, kept: bool) -> None:
    """As on the stock kernel, the control: a client is told so, and the kernel goes by itself."""
    with tempfile.TemporaryDirectory(prefix="rlm-") as directory, pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_RUNTIME_DIR", directory)
        before = set(psutil.Process().children(recursive=True))
        with started(name, Path(directory)) as client:
            below = set(psutil.Process().children(recursive=True)) - before
            kernel = [process for process in below if process.name() != "sh"]  # that one ends with this process
            assert client.run(code).reply["payload"] == [{"source": "ask_exit", "keepkernel": kept}]
            if kept:
                assert client.run("6 * 7").text == "42"
            else:
                assert left_over(kernel, WAIT_S) == []
