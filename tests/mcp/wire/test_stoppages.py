"""Short forms of `bin/soak stoppages` and `bin/soak output`: a client that stands still or does not read, a server."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from tests.mcp.line_client import LineClient
from tests.soaks.calls import serving
from tests.soaks.output import Output
from tests.soaks.stoppages import scene

pytestmark = pytest.mark.slow


def test_a_stopped_client_holds_up_nobody_and_finds_every_answer_when_it_goes_on(tmp_path: Path) -> None:
    """Its step ends and is written meanwhile; another server on the same store works as ever."""
    with scene(tmp_path) as there:
        there.client_stopped()
        there.answers_unread()


def test_a_server_that_is_stopped_in_the_middle_loses_no_output_and_answers_the_read(tmp_path: Path) -> None:
    """By SIGSTOP, for longer than the pipes take; a short form of `bin/soak output`."""
    (tmp_path / "server").mkdir()
    client = LineClient(tmp_path / "server")
    with serving(client):
        client.initialize()
        output = Output(client, random.Random(1), print)
        output.one("flushed lines", 6_000, [(0.05, 0.5)])
        output.store.close()
        assert client.end() == 0
    assert output.lost == []
    assert output.stops == 1
