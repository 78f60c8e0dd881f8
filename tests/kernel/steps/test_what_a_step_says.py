"""The words of a step are true: its literals, its errors and their places, its numbers, and where it ended."""

from __future__ import annotations

import os
import re
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import pytest

from rlm_kernel_mcp.session.registry import Registry
from tests.sessions import AMPLE, SessionDriver, open_registry

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize(
    "literal",
    [
        "\nIn [1]: x\n",
        "10:00 Logged In [ok]\n>>> start\n",
        "\n   ...: x\n... y\n",
        "\n  ?x\n x?\n%time\n!ls\n%%bash\n   \n",
    ],
)
@pytest.mark.parametrize("frame", ["{}\nlen(t)", "{}\n%time len(t)", "  {}\n  len(t)", "%time 1\n{}"])
async def test_no_transform_of_ipython_reaches_into_a_literal(shared: SessionDriver, literal: str, frame: str) -> None:
    """In honest Python, beside a magic, and in a cell that is indented as a whole."""
    await shared.ok(frame.format(f't = """{literal}"""'))
    assert await shared.value("t") == literal


@pytest.mark.parametrize("cell", [">>> n = 5\n>>> n", "In [7]: n = 5\n\nIn [8]: n", "  n = 5\n  n"])
async def test_what_was_pasted_with_its_prompts_or_indentation_runs(shared: SessionDriver, cell: str) -> None:
    """As IPython does it."""
    assert (await shared.ok(cell)).result == "5"


BAD_REPR = """
class Bad:
    def __init__(self, how): self.how = how
    def __repr__(self):
        return self.how()
def fail(error): raise error
class Pretty:
    def _repr_pretty_(self, printer, cycle):
        raise LookupError('pretty')
"""


@pytest.mark.parametrize(
    ("made", "ename", "line"),
    [
        ("Bad(lambda: missing.attribute)", "NameError", "return self.how()"),
        ("Bad(lambda: Bad.nope)", "AttributeError", "return self.how()"),
        ("Bad(lambda: fail(NotImplementedError('later')))", "NotImplementedError", "return self.how()"),
        ("Bad(lambda: fail(MemoryError()))", "MemoryError", "return self.how()"),
        ("Bad(lambda: fail(SystemExit(3)))", "SystemExit", "return self.how()"),
        ("Bad(lambda: 5)", "TypeError", "Bad(lambda: 5)"),
        ("Bad(lambda: None)", "TypeError", "Bad(lambda: None)"),
        ("Pretty()", "LookupError", "raise LookupError('pretty')"),
    ],
)
@pytest.mark.parametrize("around", ["{}", "[{}]", "{{'a': {}}}", "(1, {{2: [{}]}})", "print({})"])
async def test_a_repr_that_fails_is_the_steps_error_with_its_line(
    shared: SessionDriver, around: str, made: str, ename: str, line: str
) -> None:
    """Alone, in containers, and where it is printed."""
    report = await shared.run(f"{BAD_REPR}\n{around.format(made)}")
    if around.startswith("print") and made == "Pretty()":
        assert report.status == "ok"  # only the display asks for it
        return
    assert report.error is not None
    assert (report.status, report.error.ename) == ("error", ename)
    assert line in report.error.traceback
    assert f"In[{report.step_index}]" in report.error.traceback
    assert "has no len()" not in report.error.traceback


SYNTAX_ERRORS = {
    "x = 1\nreturn 5": (2, "return 5"),
    "x = 1\nyield 5": (2, "yield 5"),
    "x = 1\ndef f():\n    await g()": (3, "await g()"),
    "x = 1\nbreak": (2, "break"),
    "x = 1\nif x:\n    continue": (3, "continue"),
    "x = 1\nnonlocal x": (2, "nonlocal x"),
    "x = 1\ndef f(a, a): pass": (2, "def f(a, a): pass"),
    "x = 1\nclass C:\n    return 1": (3, "return 1"),
    "from __future__ import nope": (1, "from __future__ import nope"),
    "x = 1\n*a, *b = x": (2, "*a, *b = x"),
    "x = 1\n*a = x": (2, "*a = x"),
    "x = 1\n1 = x": (2, "1 = x"),
    "x = 1\nNone = x": (2, "None = x"),
    "x = 1\nf() = x": (2, "f() = x"),
    "x = 1\nf(a=1, a=2)": (2, "f(a=1, a=2)"),
    "x = 1\ny = 'abc": (2, "y = 'abc"),
    "x = 1\ny = '''abc": (2, "y = '''abc"),
    "x = 1\ny = (1,": (2, "y = (1,"),
    "x = 1\n y = 2": (2, "y = 2"),
    "if 1:\n    x = 1\n  y = 2": (3, "y = 2"),
    "if 1:\n\tx = 1\n        y = 2": (3, "y = 2"),
    "for x in 1:\nprint(x)": (2, "print(x)"),
    "x = 1\ny = b'\u00e9'": (2, "y = b'\u00e9'"),
    "x = 1\nf'{x!z}'": (2, "f'{x!z}'"),
    "x = 1\nf'{a b}'": (2, "f'{a b}'"),
    "x = 1\n[i := 0 for i in x]": (2, "[i := 0 for i in x]"),
    "x = 1\ndel f()": (2, "del f()"),
    "def f():\n    x = 1\n    global x": (3, "global x"),
    "def f():\n    nonlocal x": (2, "nonlocal x"),
    "async def f():\n    yield from x": (2, "yield from x"),
    "x = 1\ny = '\0'": (2, "y = '\\0'"),
    "\n".join(" " * depth + "for x in 1:" for depth in range(25)) + "\n" + " " * 25 + "pass": (21, "for x in 1:"),
}


@pytest.mark.parametrize("code", SYNTAX_ERRORS)
async def test_a_syntax_error_of_any_kind_names_the_steps_line_and_nothing_has_run(
    shared: SessionDriver, code: str
) -> None:
    """Also one that only the compiler finds, after IPython would have run the lines before it."""
    number, line = SYNTAX_ERRORS[code]
    await shared.ok("ran = False")
    report = await shared.run(f"ran = True; {code}" if code.startswith("x") else code)
    assert report.error is not None
    assert report.error.ename in ("SyntaxError", "IndentationError", "TabError")
    place, shown, *_ = report.error.traceback.splitlines()
    assert (place.strip(), line in shown) == (f"In[{report.step_index}], line {number}", True)
    assert ".py" not in report.error.traceback
    assert await shared.value("ran") is False


@pytest.mark.parametrize("leave", ["exit()", "quit()", "exit(3)", "raise SystemExit", "raise SystemExit('bye')"])
async def test_nothing_of_a_step_runs_after_it_leaves_and_the_session_goes_on(
    shared: SessionDriver, leave: str
) -> None:
    """In an agent's step; a console's `exit` leaves the console (`test_courtesies.py`)."""
    report = await shared.run(f"kept = 'state'\nprint('stop here'); {leave}\nprint('still runs')")
    assert report.error is not None
    assert (report.status, report.error.ename, report.stdout) == ("error", "SystemExit", "stop here\n")
    assert (await shared.ok("kept")).result == "'state'"


@pytest.mark.parametrize("name", ["exit", "quit"])
async def test_the_name_of_a_way_out_alone_is_text(shared: SessionDriver, name: str) -> None:
    """As in Python."""
    assert "the session and its names stay" in ((await shared.ok(name)).result or "")


@pytest.mark.parametrize("power", [4000, 4299])
async def test_a_whole_number_is_decimal_as_far_as_python_writes_it_so(shared: SessionDriver, power: int) -> None:
    """As a result, nested, negative and as a variable."""
    digits = "1" + "0" * power
    assert (await shared.ok(f"n = 10**{power}; n")).result == digits
    nested = (await shared.ok("[-n, {n: (n,)}]")).result or ""
    assert nested.split() == [f"[-{digits},", f"{{{digits}:", f"({digits},)}}]"]
    assert (await shared.slice("n", limit=5000)).value == digits


async def test_a_number_past_pythons_limit_says_what_to_do(shared: SessionDriver) -> None:
    """It is exact all the same."""
    shown = (await shared.ok("n = 10**4300; n")).result or ""
    number, _, said = shown.partition(" ")
    assert int(number, 16) == 10**4300
    assert said.startswith(
        "[about 4,301 decimal digits, more than the 4,300 that are written: show n % 10**k or n // 10**k]"
    )


async def test_a_large_whole_number_is_a_final_answer_in_decimal(registry: Registry) -> None:
    """Not in hexadecimal."""
    session = await SessionDriver.open(registry)
    await session.ok("n = -10**4000")
    assert (await session.finalize(var="n")).final_answer == "-1" + "0" * 4000


async def test_a_step_that_runs_too_long_is_told_its_limit_and_the_way_on(registry: Registry) -> None:
    """Whether its code lets the interrupt through or not; a session's end is told as one."""
    session = await SessionDriver.open(registry, limits=replace(AMPLE, max_runtime_ms=60_000))
    said = "stopped at the step's limit of 500 ms; pass a longer timeout_ms to rlm_run_repl"
    await session.ok("import time")
    report = await session.run("time.sleep(60)", timeout_ms=500)
    assert report.error is not None
    assert (report.status, report.error.ename, report.error.evalue) == ("timeout", "KeyboardInterrupt", said)
    assert report.error.traceback.endswith(said)
    swallowed = "try: time.sleep(60)\nexcept KeyboardInterrupt: print('swallowed')"
    report = await session.run(swallowed, timeout_ms=500)
    assert (report.status, report.stdout, report.stderr) == ("timeout", "swallowed\n", f"[{said}]\n")
    account = session.session.account
    account.charge_runtime(account.left.runtime_left_ms - 300)
    report = await session.run("while True: len('')")
    assert report.error is not None
    assert report.error.evalue.endswith("at the end of the session's max_runtime_ms")


MAIN = "import asyncio\nasync def main(): return 5\nasync def twice(n): return 2 * n\nasync def items(): yield 1\n"


@pytest.mark.parametrize(
    ("shown", "said", "then", "result"),
    [
        ("main()", "[main() has not run: `await main()` runs it]\n", "await _", "5"),
        ("twice(4)", "[twice() has not run: `await twice(...)` runs it]\n", "await _", "8"),
        ("x = main()", "[x is a coroutine that has not run: `x = await main()` gives its result]\n", "await x", "5"),
        ("x = main()\nx", "[main() has not run: `await main()` runs it]\n", "await x", "5"),
        (
            "[main(), twice(1)]",
            "[these coroutines have not run: `await asyncio.gather(*_)` runs them]\n",
            "await asyncio.gather(*_)",
            "[5, 2]",
        ),
        ("items()", "[`[item async for item in items()]` gives its items]\n", "[item async for item in _]", "[1]"),
        ("asyncio.gather(main())", "[it is still at work: `await _` gives its result]\n", "await _", "[5]"),
        ("asyncio.ensure_future(main())", "[it is still at work: `await _` gives its result]\n", "await _", "5"),
    ],
)
async def test_what_was_not_awaited_is_told_in_its_own_step_and_can_be_awaited_later(
    shared: SessionDriver, shown: str, said: str, then: str, result: str
) -> None:
    """One sentence, and none at a later line, whether it is awaited or let go."""
    for following in ((then, result), ("'let go'", "'let go'")):
        await shared.ok("x = None")
        assert (await shared.ok(MAIN + shown)).stderr == said
        later = await shared.ok(following[0])
        assert (later.stderr, later.result) == ("", following[1])
        assert (await shared.ok("x = None; 1")).stderr == ""
        assert (await shared.ok("2")).stderr == ""


async def test_a_coroutine_that_is_dropped_at_once_is_warned_of_by_python(shared: SessionDriver) -> None:
    """In its own step, with its line: nothing is to be added."""
    report = await shared.ok(f"{MAIN}main()\n3")
    assert report.stderr == f"In[{report.step_index}]:5: RuntimeWarning: coroutine 'main' was never awaited\n  main()\n"


IPYTHON = "from IPython.display import HTML, JSON, SVG, Latex, Markdown, display\n"
BUNDLE = (
    "class B:\n    def _repr_mimebundle_(self, include=None, exclude=None):\n        return {'text/markdown': '# B'}\n"
)


@pytest.mark.parametrize(
    ("code", "shown"),
    [
        (f"{IPYTHON}display(Markdown('# Title\\n\\n**bold**'))", "# Title\n\n**bold**\n"),
        (f"{IPYTHON}Markdown('# Title')", "# Title"),
        (f"{IPYTHON}display({{'text/markdown': '# raw'}}, raw=True)", "# raw\n"),
        (f"{BUNDLE}B()", "# B"),
        ("class M:\n    def _repr_markdown_(self): return '# M'\nM()", "# M"),
        (f"{IPYTHON}display(Latex('$x$'), JSON({{'a': [1]}}))", '$x$\n{"a": [1]}\n'),
        ("class R:\n    _repr_markdown_ = lambda self: '# R'\n    __repr__ = lambda self: 'own'\nR()", "own"),
        (
            f"{IPYTHON}display(HTML('<b>42</b>'))",
            "<IPython.core.display.HTML object>\n[its text/html is not shown: text, PNG and JPEG are]\n",
        ),
        (
            f"{IPYTHON}SVG('<svg xmlns=\"http://www.w3.org/2000/svg\"/>')",
            "<IPython.core.display.SVG object>\n[its image/svg+xml is not shown: text, PNG and JPEG are]",
        ),
    ],
)
async def test_a_display_that_is_made_for_a_notebook_shows_an_agent_its_text(
    shared: SessionDriver, code: str, shown: str
) -> None:
    """Markdown and its like as they are; of HTML an agent would pay for the tags."""
    report = await shared.ok(code)
    assert (report.result or report.stdout) == shown


async def test_markdown_is_cut_as_any_value(shared: SessionDriver) -> None:
    """At the longest text of one value, which says so."""
    report = await shared.ok(f"{IPYTHON}Markdown('x' * 500_000)")
    assert report.result is not None
    assert "cut after 400,000 characters" in report.result[-200:]


DOCUMENTS: Final = "rlm_kernel_mcp/in_kernel/namespace/documents.py"


@pytest.mark.parametrize("policy", ["allowlist", "any"])
async def test_what_is_asked_of_an_object_names_no_path_of_the_machine(
    registry: Registry, any_registry: Registry, policy: str
) -> None:
    """Its file is called as a traceback calls it, and a module by its name."""
    session = await SessionDriver.open(registry if policy == "allowlist" else any_registry)
    for code, place in (
        ("documents?", DOCUMENTS),
        ("documents.at??", DOCUMENTS),
        ("%pinfo2 documents", DOCUMENTS),
        ("import re\nre.compile?", "re/__init__.py"),
        ("from collections import Counter\nCounter?", "collections/__init__.py"),
        ("import json\njson?", "json/__init__.py" if policy == "any" else None),  # a facade is in no file
        ("import json\n?json.dumps", "json/__init__.py"),
        ("get_ipython?", ...),
        ("def own(): pass\nown?", ...),
    ):
        told = (await session.ok(code)).stdout
        assert told
        if place is not ...:
            assert re.findall(r"^File: +(.*)$", told, re.MULTILINE) == ([place] if place else []), code
        for directory in (sys.prefix, sys.base_prefix, str(Path(__file__).parents[3])):
            assert directory + os.sep not in told, code
            assert directory.replace(str(Path.home()), "~") + os.sep not in told, code


@pytest.mark.parametrize("setting", [{"RLM_IMPORT_POLICY": "any"}, {"RLM_IMPORTS": "no_such_module"}], ids=str)
async def test_what_cannot_be_imported_is_told_without_machinery_and_path(
    tmp_path: Path, setting: dict[str, Any]
) -> None:
    """Neither the import's own frames nor where a module lies says anything to a reader."""
    async with open_registry(tmp_path, **setting) as registry:
        session = await SessionDriver.open(registry)
        for number, (code, words) in enumerate(
            (
                ("from json import nope", "ImportError: cannot import name 'nope' from 'json'"),
                ("import no_such_module", "ModuleNotFoundError: No module named 'no_such_module'"),
            ),
            1,
        ):
            error = (await session.run(code)).error
            assert error is not None
            assert error.traceback.splitlines() == [
                "Traceback (most recent call last):",
                f"  In[{number}], line 1, in <module>",
                f"    {code}",
                words,
            ]
            assert words == f"{error.ename}: {error.evalue}"
