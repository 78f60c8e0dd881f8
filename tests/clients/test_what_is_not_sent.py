"""Limits of our kernel that the stock one has not: each is said, and costs the cell nothing else."""

from __future__ import annotations

import pytest

from tests.clients.client import Client

pytestmark = [pytest.mark.slow, pytest.mark.parametrize("kernel", ["rlm-python", "rlm-any"], indirect=True)]

RICH = "class Rich:\n    def __init__(self, **types): self.types = types\n    def __repr__(self): return 'plain'\n"
SCRIPT = "    def _repr_javascript_(self): print('asked'); return 'alert(1)'\n"
BUNDLE = "    def _repr_mimebundle_(self, include=None, exclude=None): return self.types['bundle']\n"
HTML = "    def _repr_html_(self): return 'x' * self.types['size']\n"


def test_no_script_is_sent_by_itself(kernel: Client) -> None:
    """`application/javascript`: not asked for, not passed on from a bundle, not by a display of raw types."""
    cell = kernel.run(RICH + SCRIPT + "Rich()")
    assert (cell.data, cell.stream()) == ({"text/plain": "plain"}, "")
    cell = kernel.run(RICH + BUNDLE + "Rich(bundle={'application/javascript': 'x', 'text/html': '<b>'})")
    assert cell.data == {"text/plain": "plain", "text/html": "<b>"}
    cell = kernel.run("display({'application/javascript': 'x'}, raw=True)")
    assert list(cell.data) == ["text/plain"]
    assert "application/javascript is not shown" in cell.text
    cell = kernel.run(
        "handle = display('a', display_id='d'); "
        "display({'application/javascript': 'x', 'text/plain': 't'}, raw=True, display_id='d', update=True)"
    )
    assert cell.of("update_display_data")[0]["data"] == {"text/plain": "t"}
    values = kernel.run(RICH + SCRIPT, user_expressions={"e": "Rich()"}).reply["user_expressions"]
    assert values["e"]["data"] == {"text/plain": "plain"}


def test_a_type_is_sent_up_to_its_size(kernel: Client) -> None:
    """Beyond it the text says so."""
    kernel.run(RICH + HTML)
    assert len(kernel.run("Rich(size=1_048_576)").data["text/html"]) == 1_048_576
    cell = kernel.run("Rich(size=1_048_577)")
    assert cell.data == {"text/plain": "plain\n[text/html of 1,048,577 bytes is not shown: the limit is 1,048,576]"}


def test_what_is_no_json_is_not_sent_as_such(kernel: Client) -> None:
    """It would cost the whole message."""
    kernel.run(RICH + BUNDLE)
    for value in ("{'a': {1, 2}}", "float('nan')", "object()", "{1: 2}"):
        cell = kernel.run(f"Rich(bundle={{'application/json': {value}, 'text/html': 7}})")
        assert cell.data == {"text/plain": "plain"}
    assert kernel.run("Rich(bundle={'application/json': [1, 'a', None]})").data["application/json"] == [1, "a", None]
    code = "display({'text/html': '<b>'}, raw=True, metadata={'text/html': {'x': object()}})"
    assert kernel.run(code).of("display_data")[0]["metadata"] == {}


def test_the_displays_of_a_cell_are_bounded(kernel: Client) -> None:
    """In size, whatever their types; one line says so, and the next cell starts anew."""
    cell = kernel.run("for number in range(40): display({'text/html': 'x' * 1_000_000}, raw=True)")
    assert len(cell.of("display_data")) == 32
    assert "all further displays of the cell are dropped" in cell.stream("stderr")
    assert kernel.run("display(1)").text == "1"


def test_expressions_have_room_for_a_reply(kernel: Client) -> None:
    """What is beyond is left out and says so; the others are there."""
    kernel.run("big = 'x' * 390_000")
    expressions = {f"e{number}": "big" for number in range(8)} | {"last": "1"}
    values = kernel.run("1", user_expressions=expressions).reply["user_expressions"]
    assert [value["status"] for value in values.values()] == ["ok"] * 5 + ["error"] * 3 + ["ok"]
    assert "room for 2,000,000 bytes" in values["e7"]["evalue"]


def test_a_thread_of_an_earlier_cell_asks_nobody(kernel: Client) -> None:
    """Who happens to be there now was not asked by it."""
    kernel.run(
        "import threading\n"
        "go, done, said = threading.Event(), threading.Event(), []\n"
        "def late():\n"
        "    go.wait()\n"
        "    try: said.append(input('late? '))\n"
        "    except RuntimeError as error: said.append(type(error).__name__)\n"
        "    done.set()\n"
        "threading.Thread(target=late).start()",
        lambda asked: "never",
    )
    cell = kernel.run("go.set(); done.wait(); said", lambda asked: "never")
    assert (cell.text, cell.asked) == ("['StdinNotImplementedError']", [])


def test_the_history_is_bounded(kernel: Client) -> None:
    """The newest cells are kept; a long result is none."""
    kernel.run("'x' * 30_000")
    number = kernel.run("1").reply["execution_count"]
    rows = kernel.ask("history", raw=True, output=True, hist_access_type="range", session=0, start=number - 1)[
        "history"
    ]
    assert [pair for _, _, pair in rows] == [["'x' * 30_000", None], ["1", "1"]]
    for letter in "abcde":
        kernel.run(f"_ = '{letter * 100_000}'")
    rows = kernel.ask("history", raw=True, output=False, hist_access_type="tail", n=1000)["history"]
    assert sum(len(code) for _, _, code in rows) <= 400_000
    assert rows[-1][2].startswith("_ = 'eee")


DISGUISED = """
class Disguised(str):
    def __eq__(self, other): return other == 'text/html'
    def __hash__(self): return hash('text/html')
    def __len__(self): return 1
    def __str__(self): return 'text/html'
script = Disguised('application/javascript')
"""


def test_a_type_is_what_is_sent_and_not_what_it_calls_itself(kernel: Client) -> None:
    """A text of a class of its own was compared by its own word and sent by its characters."""
    kernel.run(DISGUISED + RICH + BUNDLE)
    for code in ("display({script: 'alert(1)'}, raw=True)", "Rich(bundle={script: 'alert(1)'})"):
        cell = kernel.run(code)
        assert "application/javascript" not in cell.data
        assert "alert(1)" not in str(cell.data)
    cell = kernel.run("display({'text/html': Disguised('x' * 1_048_577)}, raw=True)")
    assert cell.data == {"text/plain": "[text/html of 1,048,577 bytes is not shown: the limit is 1,048,576]"}


def test_a_display_says_no_more_than_it_shows(kernel: Client) -> None:
    """Data beside it are bounded too; the id of a display is kept."""
    cell = kernel.run("display('a', transient={'x': 'y' * 5_000_000})")
    assert [shown["transient"] for shown in cell.of("display_data")] == [{}]
    cell = kernel.run("handle = display('a', display_id='one')")
    assert [shown["transient"] for shown in cell.of("display_data")] == [{"display_id": "one"}]
