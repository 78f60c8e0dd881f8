"""What a Jupyter client gets: the same assertions against the kernel of our kernelspec and against ipykernel's own."""

from __future__ import annotations

from typing import Any

import pytest

from tests.clients.client import WAIT_S, Client

pytestmark = pytest.mark.slow

PNG = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="


def statuses(kernel: Client, *msg_ids: str) -> list[str]:
    return [kernel.end(msg_id).reply["status"] for msg_id in msg_ids]


# --- order, errors, what waits behind them -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("code", "order"),
    [
        ("print('before'); raise ValueError('x')", ["stream", "error"]),
        ("import warnings; warnings.warn('before'); 1 / 0", ["stream", "error"]),
        ("print('before', end=''); 6 * 7", ["stream", "execute_result"]),
        ("print(1); display(2); print(3); display(4)", ["stream", "display_data"] * 2),
        ("import asyncio; print('before'); await asyncio.sleep(0); raise ValueError", ["stream", "error"]),
        ("display(1); print(2); 1 / 0", ["display_data", "stream", "error"]),
        ("print(1); %nosuchmagic", ["error"]),
        ("print('before'); def f(: pass", ["error"]),
    ],
)
def test_what_was_printed_before_comes_before(kernel: Client, code: str, order: list[str]) -> None:
    """Results, displays and errors."""
    cell = kernel.run(code)
    assert cell.order == order
    assert cell.statuses == ["busy", "idle"]


def test_an_error_is_the_same_on_both_channels(kernel: Client) -> None:
    """Name, text and traceback, as the protocol has them."""
    cell = kernel.run("raise ValueError('x')")
    (error,) = cell.of("error")
    assert (error["ename"], error["evalue"]) == ("ValueError", "x")
    assert {name: cell.reply[name] for name in ("ename", "evalue", "traceback")} == error
    assert (cell.reply["status"], cell.reply["user_expressions"], cell.reply["payload"]) == ("error", {}, [])
    assert all(isinstance(line, str) for line in error["traceback"])
    assert "ValueError" in "".join(error["traceback"])


SLOW_ERROR = "import time; print('begun', flush=True); time.sleep(0.1); 1 / 0"
SLOW_ASYNC_ERROR = "import asyncio; print('begun', flush=True); await asyncio.sleep(0.1); 1 / 0"


@pytest.mark.parametrize("code", [SLOW_ERROR, SLOW_ASYNC_ERROR])
def test_what_waits_behind_an_error_is_aborted(kernel: Client, code: str) -> None:
    """Run All stops at the first error: `aborted`, nothing is run, and only what waited then."""
    kernel.run("ran = []")
    failing = kernel.begin(code)
    behind = [kernel.begin(f"ran.append({number})") for number in range(3)]
    info = kernel.client.kernel_info()
    assert statuses(kernel, failing, *behind, info) == ["error", "aborted", "aborted", "aborted", "ok"]
    cell = kernel.run("ran")
    assert (cell.text, cell.reply["status"]) == ("[]", "ok")


def test_an_aborted_cell_has_no_output_and_no_number(kernel: Client) -> None:
    """It is as if it had not been sent."""
    before = kernel.run("1").reply["execution_count"]
    failing, behind = kernel.begin(SLOW_ERROR), kernel.begin("print('never')")
    assert kernel.end(failing).reply["status"] == "error"
    cell = kernel.end(behind)
    assert (cell.reply["status"], cell.messages, cell.echo, cell.statuses) == ("aborted", [], {}, ["busy", "idle"])
    assert kernel.run("1").reply["execution_count"] == before + 2


def test_what_waits_runs_where_the_client_says_so(kernel: Client) -> None:
    """`stop_on_error=False`, and a failure of a silent cell."""
    failing = kernel.begin(SLOW_ERROR, stop_on_error=False)
    assert statuses(kernel, failing, kernel.begin("1")) == ["error", "ok"]
    failing = kernel.begin(SLOW_ERROR, silent=True)
    assert statuses(kernel, failing, kernel.begin("1")) == ["error", "ok"]


def test_an_error_that_is_shown_later_is_not_the_cells_end(kernel: Client) -> None:
    """A callback that fails after the cell has its own message, and the reply keeps the cell's own end."""
    kernel.run("from warnings import warn")
    cell = kernel.run("class Sour:\n    def _repr_html_(self): raise RuntimeError('html')\ndisplay(Sour())")
    assert (cell.reply["status"], cell.order) == ("ok", ["error", "display_data"])
    assert cell.of("error")[0]["ename"] == "RuntimeError"
    cell = kernel.run("Sour()")
    assert (cell.reply["status"], cell.order) == ("error", ["error", "execute_result"])


def test_an_interrupt_ends_the_running_cell(kernel: Client) -> None:
    """And nothing but it."""
    msg_id = kernel.begin("print('begun', flush=True)\nwhile True: len('')")
    kernel.until(msg_id, lambda cell: cell.stream() == "begun\n")
    kernel.manager.interrupt_kernel()
    cell = kernel.end(msg_id)
    assert (cell.reply["status"], cell.reply["ename"], cell.order) == (
        "error",
        "KeyboardInterrupt",
        ["stream", "error"],
    )
    assert kernel.run("1").reply["status"] == "ok"


# --- numbers, silence, history -------------------------------------------------------------------------------------


def test_cells_are_counted(kernel: Client) -> None:
    """Reply, echo and result have the same number; an unstored, silent or empty cell takes none."""
    cell = kernel.run("1")
    number = cell.reply["execution_count"]
    (result,) = cell.of("execute_result")
    assert cell.echo == {"code": "1", "execution_count": number}
    assert result["execution_count"] == number
    kernel.run("1", store_history=False)
    kernel.run("1", silent=True)
    kernel.run("1", silent=True, store_history=False)
    for empty in ("", " \n"):
        assert kernel.run(empty).reply["status"] == "ok"
    assert kernel.run("1 / 0").reply["execution_count"] == number + 1
    assert kernel.run("1").reply["execution_count"] == number + 2


def test_a_silent_cell_shows_nothing_but_what_it_prints(kernel: Client) -> None:
    """No echo and no result."""
    cell = kernel.run("print('said'); 6 * 7", silent=True)
    assert (cell.echo, cell.order, cell.stream()) == ({}, ["stream"], "said\n")
    assert kernel.run("quiet = 1; quiet;").messages == []


def history(kernel: Client, kind: str, **options: Any) -> list[Any]:
    reply = kernel.ask("history", **{"raw": True, "output": False, "hist_access_type": kind, **options})
    assert reply["status"] == "ok"
    return list(reply["history"])


@pytest.fixture
def first(kernel: Client) -> int:
    """Number of the first of four cells in the history: the second and the last are the same."""
    numbers = [kernel.run(code).reply["execution_count"] for code in ("a = 1", "a + 1", "%time a = 3", "a + 1")]
    return int(numbers[0])


def test_the_tail_of_the_history(kernel: Client, first: int) -> None:
    """The last cells, oldest first, each (session, number, code); 10 where no number is named."""
    rows = history(kernel, "tail", n=2)
    assert [row[1:] for row in rows] == [[first + 2, "%time a = 3"], [first + 3, "a + 1"]]
    assert rows[0][0] > 0
    assert len(history(kernel, "tail")) == 10
    assert history(kernel, "tail", n=0) == []
    (row,) = history(kernel, "tail", n=1, output=True)
    assert row[1:] == [first + 3, ["a + 1", None]]
    assert "run_line_magic" in history(kernel, "tail", n=2, raw=False)[0][2]


def test_a_range_of_the_history(kernel: Client, first: int) -> None:
    """Of the current session, which is 0 and has its own number; the stop is outside."""
    assert history(kernel, "range", session=0, start=first, stop=first + 1) == [[0, first, "a = 1"]]
    number = history(kernel, "tail", n=1)[0][0]
    assert history(kernel, "range", session=number, start=first, stop=first + 1)[0][1:] == [first, "a = 1"]
    pairs = history(kernel, "range", session=0, start=first, stop=None, output=True)
    assert [pair for _, _, pair in pairs] == [["a = 1", None], ["a + 1", "2"], ["%time a = 3", None], ["a + 1", "4"]]
    assert [row[1] for row in history(kernel, "range", session=0, start=-2, stop=None)] == [first + 2, first + 3]
    assert [row[1] for row in history(kernel, "range", session=0, start=first, stop=-1)] == [
        first,
        first + 1,
        first + 2,
    ]
    assert "run_line_magic" in history(kernel, "range", session=0, start=first + 2, stop=first + 3, raw=False)[0][2]
    assert history(kernel, "range", session=0, start=first + 2, stop=first + 2) == []
    assert history(kernel, "range", session=999, start=1, stop=None) == []
    assert history(kernel, "range", session=-999, start=1, stop=None) == []
    assert history(kernel, "range", session=0, start=0, stop=1) == [[0, 0, ""]]


def test_a_search_of_the_history(kernel: Client, first: int) -> None:
    """Glob patterns over whole cells; `unique` gives the newest of equal ones, `n` the last ones."""
    assert history(kernel, "search", pattern="a + 1", n=2) == [
        [row[0], number, "a + 1"]
        for row, number in zip(history(kernel, "tail", n=2), (first + 1, first + 3), strict=True)
    ]
    assert [row[1] for row in history(kernel, "search", pattern="a + 1", unique=True)] == [first + 3]
    assert history(kernel, "search", pattern="a + 1", n=1, output=True)[0][1:] == [first + 3, ["a + 1", None]]
    assert [row[1] for row in history(kernel, "search", pattern="%*a*[^4]", n=1)] == [first + 2]
    assert history(kernel, "search", pattern="A + 1") == []
    assert history(kernel, "search", pattern="+ 1") == []
    assert [row[2] for row in history(kernel, "search", pattern="a ? 1", unique=True, n=5)] == ["a + 1", "a = 1"][::-1]


def test_a_history_of_no_known_kind_is_empty(kernel: Client) -> None:
    """As ipykernel has it."""
    assert history(kernel, "nosuch") == []


# --- expressions ---------------------------------------------------------------------------------------------------


def test_expressions_come_with_the_reply(kernel: Client) -> None:
    """Each with its own end: a value in its types, or an error."""
    kernel.run("foo = 2\nclass Rich:\n    def _repr_html_(self): return '<b>'")
    expressions = {"e": "foo", "twice": " foo * 2 ", "rich": "Rich()", "name": "nosuch", "form": "1 +", "zero": "1 / 0"}
    values = kernel.run("foo", user_expressions=expressions).reply["user_expressions"]
    assert list(values) == list(expressions)
    assert values["e"] == {"status": "ok", "data": {"text/plain": "2"}, "metadata": {}}
    assert values["twice"]["data"] == {"text/plain": "4"}
    assert values["rich"]["data"]["text/html"] == "<b>"
    enames = [values[name]["ename"] for name in ("name", "form", "zero")]
    assert enames == ["NameError", "SyntaxError", "ZeroDivisionError"]
    assert all(set(values[name]) == {"status", "ename", "evalue", "traceback"} for name in ("name", "form", "zero"))
    assert values["zero"]["evalue"] == "division by zero"


def test_expressions_see_the_cell_and_are_none_of_it(kernel: Client) -> None:
    """They are not asked where the cell failed; what they print is shown; a cell without them has none."""
    cell = kernel.run("foo = 7", user_expressions={"e": "print(foo)"})
    assert cell.stream() == "7\n"
    assert cell.reply["user_expressions"]["e"]["data"] == {"text/plain": "None"}
    assert kernel.run("1 / 0", user_expressions={"e": "foo"}).reply["user_expressions"] == {}
    assert kernel.run("foo").reply["user_expressions"] == {}
    silent = kernel.run("", silent=True, user_expressions={"e": "foo"})
    assert silent.reply["user_expressions"]["e"]["data"] == {"text/plain": "7"}


def test_an_expression_can_be_interrupted(kernel: Client) -> None:
    """Its own end is the interrupt; the reply comes."""
    kernel.run("def endless():\n    print('begun', flush=True)\n    while True: len('')")
    msg_id = kernel.begin("1", user_expressions={"e": "endless()", "after": "6 * 7"})
    kernel.until(msg_id, lambda cell: cell.stream() == "begun\n")
    kernel.manager.interrupt_kernel()
    values = kernel.end(msg_id).reply["user_expressions"]
    assert values["e"]["ename"] == "KeyboardInterrupt"
    assert values["after"]["data"] == {"text/plain": "42"}


# --- what a cell shows ---------------------------------------------------------------------------------------------

RICH = """
import base64
class Rich:
    def _repr_html_(self): return '<b>html</b>'
    def _repr_markdown_(self): return '*markdown*'
    def _repr_svg_(self): return '<svg></svg>'
    def _repr_png_(self): return base64.b64decode({png!r}), {{'width': 3}}
    def _repr_jpeg_(self): return b'\\xff\\xd8\\xff'
    def _repr_latex_(self): return '$latex$'
    def _repr_json_(self): return {{'a': [1, None]}}
    def __repr__(self): return 'plain'
""".format(png=PNG)  # noqa: UP032
SHOWN = {
    "text/plain": "plain",
    "text/html": "<b>html</b>",
    "text/markdown": "*markdown*",
    "image/svg+xml": "<svg></svg>",
    "image/png": PNG,
    "image/jpeg": "/9j/",
    "text/latex": "$latex$",
    "application/json": {"a": [1, None]},
}


def bundle(content: dict[str, Any]) -> dict[str, Any]:
    """A MIME bundle; line ends in base64 have no meaning."""
    return {kind: data.strip() if isinstance(data, str) else data for kind, data in content["data"].items()}


@pytest.mark.parametrize(("code", "msg_type"), [("Rich()", "execute_result"), ("display(Rich())", "display_data")])
def test_a_rich_object_is_shown_in_all_its_types(kernel: Client, code: str, msg_type: str) -> None:
    """As a result and by `display`, with the metadata that it gives."""
    kernel.run(RICH)
    cell = kernel.run(code)
    (content,) = cell.of(msg_type)
    assert (cell.reply["status"], bundle(content)) == ("ok", SHOWN)
    assert content["metadata"] == {"image/png": {"width": 3}}


def test_a_display_can_be_limited_to_some_types(kernel: Client) -> None:
    """`include` and `exclude`."""
    kernel.run(RICH)
    assert set(kernel.run("display(Rich(), include=['text/html'])").data) == {"text/html"}
    assert "text/html" not in kernel.run("display(Rich(), exclude=['text/html'])").data


def test_a_bundle_is_shown_as_it_is(kernel: Client) -> None:
    """`display(..., raw=True)` and `_repr_mimebundle_`, with metadata."""
    cell = kernel.run(
        "display({'text/html': '<i>', 'text/plain': 'p'}, raw=True, metadata={'text/html': {'isolated': True}})"
    )
    (content,) = cell.of("display_data")
    assert content["data"] == {"text/html": "<i>", "text/plain": "p"}
    assert content["metadata"] == {"text/html": {"isolated": True}}
    cell = kernel.run(
        "class Bundle:\n"
        "    def _repr_mimebundle_(self, include=None, exclude=None):\n"
        "        return {'text/plain': 'b', 'text/markdown': '*b*'}, {'text/markdown': {'x': 1}}\n"
        "Bundle()"
    )
    (content,) = cell.of("execute_result")
    assert (content["data"], content["metadata"]) == (
        {"text/plain": "b", "text/markdown": "*b*"},
        {"text/markdown": {"x": 1}},
    )


def test_ipythons_own_objects_are_shown_in_their_types(kernel: Client) -> None:
    """`IPython.display`, and what is cleared."""
    cell = kernel.run(
        "from IPython.display import HTML, JSON, SVG, Image, Latex, Markdown, clear_output\n"
        "import base64\n"
        "print(1); clear_output(wait=True); print(2)\n"
        "display(HTML('<b>'), Markdown('*m*'), Latex('$l$'), JSON({'a': [1]}),\n"
        "        SVG('<svg xmlns=\"http://www.w3.org/2000/svg\"></svg>'))\n"
        f"display(Image(base64.b64decode({PNG!r}), width=3))"
    )
    assert cell.order == ["stream", "clear_output", "stream"] + ["display_data"] * 6
    assert cell.of("clear_output") == [{"wait": True}]
    types = ["text/html", "text/markdown", "text/latex", "application/json", "image/svg+xml", "image/png"]
    assert [set(content["data"]) for content in cell.of("display_data")] == [{"text/plain", kind} for kind in types]
    metadata = [content["metadata"] for content in cell.of("display_data")]
    assert metadata[3] == {"application/json": {"expanded": False, "root": "root"}}
    assert metadata[5] == {"image/png": {"width": 3}}


def test_an_object_that_displays_itself_does_so(kernel: Client) -> None:
    """`_ipython_display_` is all of it."""
    cell = kernel.run("class Own:\n    def _ipython_display_(self): print('own')\nOwn()")
    assert (cell.order, cell.stream()) == (["stream"], "own\n")


def test_a_display_is_updated_in_place(kernel: Client) -> None:
    """By its id, from the same cell or another."""
    cell = kernel.run("handle = display('one', display_id=True); handle.update('two')")
    assert cell.order == ["display_data", "update_display_data"]
    (shown,), (updated,) = cell.of("display_data"), cell.of("update_display_data")
    assert shown["transient"] == updated["transient"]
    assert (shown["data"], updated["data"]) == ({"text/plain": "'one'"}, {"text/plain": "'two'"})
    cell = kernel.run("handle.update('three')")
    assert cell.of("update_display_data")[0]["transient"] == shown["transient"]
    (content,) = kernel.run("display('x', display_id='mine')").of("display_data")
    assert content["transient"] == {"display_id": "mine"}


def test_a_type_without_text_is_no_message_of_nothing(kernel: Client) -> None:
    """None shows nothing."""
    assert kernel.run("None").messages == []


# --- questions to a person -----------------------------------------------------------------------------------------


def test_input_asks_the_client(kernel: Client) -> None:
    """What was printed comes first; the prompt is the client's to show."""
    cell = kernel.run("print('before', end='')\nname = input('name? ')\nname", lambda asked: "me")
    assert cell.asked == [{"prompt": "name? ", "password": False}]
    assert (cell.order, cell.text) == (["stream", "execute_result"], "'me'")
    answers = iter(["first", "", "ünïcode"])
    cell = kernel.run("[input(), input(2), input('')]", lambda asked: next(answers))
    assert [asked["prompt"] for asked in cell.asked] == ["", "2", ""]
    assert cell.text == "['first', '', 'ünïcode']"


def test_a_password_is_asked_for_as_one(kernel: Client) -> None:
    """`getpass`."""
    cell = kernel.run("import getpass\ngetpass.getpass('secret? '), getpass.getpass()", lambda asked: "x")
    assert cell.asked == [{"prompt": "secret? ", "password": True}, {"prompt": "", "password": True}]
    assert cell.text == "('x', 'x')"
    cell = kernel.run("from getpass import getpass as ask\nask('again? ')", lambda asked: "y")
    assert (cell.asked[0]["password"], cell.text) == (True, "'y'")


def test_an_end_of_file_is_an_error_of_the_cell(kernel: Client) -> None:
    """Ctrl-D at a console's prompt."""
    assert kernel.run("input()", lambda asked: "\x04").reply["ename"] == "EOFError"


@pytest.mark.parametrize("code", ["input('q')", "import asyncio\nawait asyncio.sleep(0)\ninput('q')"])
def test_a_question_can_be_interrupted(kernel: Client, code: str) -> None:
    """And a late answer to it is nobody's."""
    msg_id = kernel.begin(f"print('begun', flush=True)\n{code}", allow_stdin=True)

    def interrupt(asked: object) -> str:
        kernel.manager.interrupt_kernel()
        return "late"

    # The interrupt is on its way when the answer is given; whichever is first, the cell ends and the next one is sound.
    cell = kernel.end(msg_id, interrupt)
    assert cell.reply.get("ename", "KeyboardInterrupt") == "KeyboardInterrupt"
    assert kernel.run("input('next? ')", lambda asked: "fresh").text == "'fresh'"


def test_a_question_without_an_answer_is_interrupted(kernel: Client) -> None:
    """The person presses Ctrl-C at the question."""
    msg_id = kernel.begin("input('q')", allow_stdin=True)
    kernel.asked(msg_id)
    kernel.manager.interrupt_kernel()
    cell = kernel.end(msg_id)
    assert (cell.reply["status"], cell.reply["ename"]) == ("error", "KeyboardInterrupt")


def test_a_thread_of_the_cell_may_ask(kernel: Client) -> None:
    """By itself or through asyncio."""
    cell = kernel.run("import asyncio\nawait asyncio.to_thread(input, 'q')", lambda asked: "t")
    assert (cell.asked[0]["prompt"], cell.text) == ("q", "'t'")
    code = "import threading\nt = threading.Thread(target=lambda: print(input('q')))\nt.start(); t.join()"
    assert kernel.run(code, lambda asked: "u").stream() == "u\n"


def test_a_client_without_a_person_is_not_asked(kernel: Client) -> None:
    """nbclient and its like: the cell fails at once, with an error that code for notebooks knows."""
    for code in ("input('q')", "import getpass; getpass.getpass()"):
        cell = kernel.run(code)
        assert (cell.reply["status"], cell.asked) == ("error", [])
    code = "try: input()\nexcept NotImplementedError: print('nobody')"
    assert kernel.run(code).stream() == "nobody\n"


# --- pages, payloads, help -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("code", ["zip?", "?zip", "zip??", "%pinfo zip", "zi*?"])
def test_help_is_a_page_of_the_client(kernel: Client, code: str) -> None:
    """A payload of the reply and no output."""
    cell = kernel.run(code)
    (page,) = cell.reply["payload"]
    assert (page["source"], page["start"], cell.messages) == ("page", 0, [])
    assert "zip" in page["data"]["text/plain"]
    assert kernel.run("1").reply["payload"] == []


def test_help_on_nothing_is_said(kernel: Client) -> None:
    """No page."""
    cell = kernel.run("nosuch?")
    assert (cell.reply["payload"], cell.stream()) == ([], "Object `nosuch` not found.\n")


def test_pages_of_the_sessions_own_names_show_their_text(kernel: Client) -> None:
    """Docstring and, with `??`, the source."""
    kernel.run('def mine(x):\n    """Doc of mine."""\n    return x + 12345')
    assert "Doc of mine." in kernel.run("mine?").reply["payload"][0]["data"]["text/plain"]
    assert "12345" in kernel.run("mine??").reply["payload"][0]["data"]["text/plain"]
    assert kernel.ask("inspect", "mine(")["data"]["text/plain"]
    assert "12345" in kernel.ask("inspect", "mine", detail_level=1)["data"]["text/plain"]


def test_leaving_is_the_clients_to_do(kernel: Client) -> None:
    """`exit(True)`: the client leaves and the kernel stays."""
    cell = kernel.run("exit(True)")
    assert cell.reply["payload"] == [{"source": "ask_exit", "keepkernel": True}]
    assert kernel.run("1").text == "1"


# --- completion and the rest ---------------------------------------------------------------------------------------


def test_names_are_completed(kernel: Client) -> None:
    """In the span that the cursor's word takes, from the session's own names."""
    kernel.run("my_number = 5\ndef my_function(): pass\nclass Held: pass\nheld = Held(); held.inner_value = 1")
    reply = kernel.ask("complete", "x = my_n", 8)
    assert (reply["status"], reply["matches"]) == ("ok", ["my_number"])
    assert (reply["cursor_start"], reply["cursor_end"]) == (4, 8)
    reply = kernel.ask("complete", "held.inn")
    assert (reply["matches"], reply["cursor_start"], reply["cursor_end"]) == (["inner_value"], 5, 8)
    assert {"my_number", "my_function"} <= set(kernel.ask("complete", "my_")["matches"])
    assert kernel.ask("complete", "zzz_no_such")["matches"] == []
    kinds = kernel.ask("complete", "held.inn")["metadata"]["_jupyter_types_experimental"]
    assert [(kind["text"], kind["start"], kind["end"]) for kind in kinds] == [("inner_value", 5, 8)]


def test_a_name_is_inspected(kernel: Client) -> None:
    """Found or not."""
    reply = kernel.ask("inspect", "zip(", 2)
    assert (reply["status"], reply["found"]) == ("ok", True)
    assert "iterable" in reply["data"]["text/plain"]
    reply = kernel.ask("inspect", "nosuch")
    assert reply == {"status": "ok", "found": False, "data": {}, "metadata": {}}


@pytest.mark.parametrize(
    ("code", "status", "indent"),
    [
        ("1", "complete", None),
        ("for x in y:", "incomplete", "    "),
        ("if 1:\n  2", "incomplete", "  "),
        ("if 1:\n  2\n", "complete", None),
        ("x = (", "incomplete", ""),
        ("'''a", "incomplete", ""),
        ("raise = 2", "invalid", None),
        ("%time", "complete", None),
        ("zip?", "complete", None),
        ("", "complete", None),
    ],
)
def test_whether_code_is_complete(kernel: Client, code: str, status: str, indent: str | None) -> None:
    """What Enter does in a console."""
    reply = kernel.ask("is_complete", code)
    assert (reply["status"], reply.get("indent")) == (status, indent)


def test_there_are_no_comms_and_what_is_said_to_one_harms_nothing(kernel: Client) -> None:
    """Widgets ask at once."""
    assert kernel.ask("comm_info") == {"status": "ok", "comms": {}}
    assert kernel.ask("comm_info", "jupyter.widget") == {"status": "ok", "comms": {}}
    session = kernel.client.session
    for msg_type in ("comm_msg", "comm_close", "nosuch_request"):
        kernel.client.shell_channel.send(session.msg(msg_type, {"comm_id": "nosuch", "data": {}}))
    assert kernel.run("1").text == "1"


def test_the_kernel_says_what_it_is(kernel: Client) -> None:
    """What a notebook needs to name, colour and export the code."""
    reply = kernel.ask("kernel_info")
    language = reply["language_info"]
    assert reply["status"] == "ok"
    assert tuple(map(int, reply["protocol_version"].split("."))) >= (5, 3)
    assert {"implementation", "implementation_version", "banner", "help_links", "supported_features"} <= set(reply)
    assert (language["name"], language["mimetype"], language["file_extension"]) == ("python", "text/x-python", ".py")
    assert (language["pygments_lexer"], language["nbconvert_exporter"]) == ("ipython3", "python")
    assert language["codemirror_mode"] == {"name": "ipython", "version": 3}
    assert all(set(link) == {"text", "url"} for link in reply["help_links"])


@pytest.mark.parametrize(
    "request_type", ["debug", "usage", "interrupt", "create_subshell", "list_subshell", "kernel_info"]
)
def test_each_request_on_control_is_answered(kernel: Client, request_type: str) -> None:
    """Also for what a kernel has not: a client that asks must not wait for ever."""
    content = {"type": "request", "seq": 1, "command": "debugInfo", "arguments": {}} if request_type == "debug" else {}
    client = kernel.client
    client.control_channel.send(client.session.msg(f"{request_type}_request", content))
    assert client.get_control_msg(timeout=WAIT_S)["msg_type"] == f"{request_type}_reply"
    assert kernel.run("1").text == "1"


@pytest.mark.parametrize("kernel", ["rlm-any", "python3"], indirect=True)
class TestWithEveryImport:
    """What needs modules that the allowlist has not."""

    def test_an_error_that_is_caught_and_shown_is_not_the_cells_end(self, kernel: Client) -> None:
        """`showtraceback`: the message comes and the reply is `ok`."""
        cell = kernel.run("try: 1 / 0\nexcept ZeroDivisionError: get_ipython().showtraceback()\n'after'")
        assert (cell.reply["status"], cell.order) == ("ok", ["error", "execute_result"])
        assert cell.of("error")[0]["ename"] == "ZeroDivisionError"

    def test_a_callback_that_fails_after_the_cell_leaves_its_end_alone(self, kernel: Client) -> None:
        """`post_execute`: the reply has the cell's own error, or none."""
        kernel.run("def sour(): raise RuntimeError('callback')\nget_ipython().events.register('post_execute', sour)")
        fine, failed = kernel.run("1"), kernel.run("raise ValueError('own')")
        kernel.run("get_ipython().events.unregister('post_execute', sour)")
        assert (fine.reply["status"], fine.of("error")[0]["ename"]) == ("ok", "RuntimeError")
        assert (failed.reply["status"], failed.reply["ename"]) == ("error", "ValueError")
        assert [error["ename"] for error in failed.of("error")] == ["ValueError", "RuntimeError"]

    def test_the_next_cell_can_be_filled_in(self, kernel: Client) -> None:
        """`set_next_input`."""
        payload = {"source": "set_next_input", "text": "x = 1", "replace": True}
        assert kernel.run("get_ipython().set_next_input('x = 1', replace=True)").reply["payload"] == [payload]

    def test_cell_magics_show_what_they_say(self, kernel: Client) -> None:
        """`%%html`, `%%markdown`, `%%capture`, `%history`."""
        assert kernel.run("%%html\n<b>x</b>").data["text/html"].strip() == "<b>x</b>"
        assert kernel.run("%%markdown\n*x*").data["text/markdown"].strip() == "*x*"
        kernel.run("%%capture held\nprint(1); display(2)\n3")
        assert kernel.run("held.show()").order == ["stream", "display_data", "display_data"]
        assert "held.show()" in kernel.run("%history").stream()


@pytest.mark.parametrize("kernel", ["rlm-any", "python3"], indirect=True)
def test_the_history_is_shown_to_who_asks_in_a_cell(kernel: Client) -> None:
    """`%history`, of the newest cells and by a pattern."""
    kernel.run("apples = 1")
    kernel.run("pears = 2")
    assert kernel.run("%history -l 2").stream() == "apples = 1\npears = 2\n"
    assert "apples = 1" in kernel.run("%history -g *apples*1").stream()


@pytest.mark.parametrize("kernel", ["rlm-any", "python3"], indirect=True)
def test_an_error_that_the_cells_own_handler_showed_is_the_reply_s(kernel: Client) -> None:
    """By its name, and not as an interrupt."""
    kernel.run("get_ipython().set_custom_exc((ZeroDivisionError,), lambda shell, *error, **options: print('mine'))")
    cell = kernel.run("1 / 0")
    assert (cell.stream(), cell.reply["status"], cell.reply["ename"]) == ("mine\n", "error", "ZeroDivisionError")
    kernel.run("get_ipython().set_custom_exc((), None)")


@pytest.mark.parametrize("kernel", ["rlm-any", "python3"], indirect=True)
def test_a_cell_that_stopped_in_the_debugger_goes_on_after_an_interrupt(kernel: Client) -> None:
    """Python's own debugger would take the interrupt for a word to itself, and hold the kernel for good."""
    stopped = kernel.begin("import pdb; pdb.set_trace(); at = 1", allow_stdin=True)
    assert "pdb> " in kernel.asked(stopped)["prompt"]
    kernel.manager.interrupt_kernel()
    assert kernel.end(stopped).reply["status"] == "ok"
    assert kernel.run("6 * 7").text == "42"


@pytest.mark.parametrize("kernel", ["rlm-any", "python3"], indirect=True)
def test_the_working_directory_can_be_changed(kernel: Client) -> None:
    """Where IPython keeps the ones before is not a directory of the machine."""
    cell = kernel.run("before = get_ipython().run_line_magic('pwd', '')\n%cd /\n%cd -q {before}")
    assert (cell.stream(), cell.reply["status"]) == ("/\n", "ok")
