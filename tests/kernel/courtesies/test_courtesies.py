"""What a real kernel refuses by name, what honest code may do in it, and how its output is bounded."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.kernel.bare_kernel import WAIT_S, BareKernel, bare_kernel


@pytest.fixture(scope="module")
def kernel() -> Iterator[BareKernel]:
    """A kernel with the shipped allowlist."""
    with tempfile.TemporaryDirectory() as directory, bare_kernel(Path(directory), "allowlist") as started:
        yield started


@pytest.fixture(scope="module")
def any_kernel() -> Iterator[BareKernel]:
    """A kernel of `RLM_IMPORT_POLICY=any`, whose streams have the smallest budget."""
    limits = {"output_chars_per_step": 10_000}
    with tempfile.TemporaryDirectory() as directory, bare_kernel(Path(directory), "any", **limits) as started:
        yield started


REFUSED_BY_NAME = {
    "import os": ("ImportRefused", "'os'"),
    "import json.tool": ("ImportRefused", "'json.tool'"),
    "from json import tool": ("ImportRefused", "'json.tool'"),
    "from concurrent import futures, interpreters": ("ImportError", "interpreters"),
    "import importlib.util as u": ("ImportRefused", "'importlib.util'"),
    "__import__('os')": ("ImportRefused", "'os'"),
    "import IPython": ("ImportRefused", "'IPython'"),
    "from os import getcwd": ("ImportRefused", "'os.getcwd'"),
    "from os import *": ("ImportRefused", "'os'"),
    "import sys\nsys.modules": ("AttributeError", "'modules'"),
    "import sys\nsys._getframe()": ("AttributeError", "'_getframe'"),
    "from sys import settrace": ("ImportRefused", "'sys.settrace'"),
    "import inspect\ninspect.stack()": ("AttributeError", "'stack'"),
    "import traceback\ntraceback.walk_stack(None)": ("AttributeError", "'walk_stack'"),
    "import pathlib\npathlib.os": ("AttributeError", "'os'"),
    "import os.path\nos.getcwd()": ("AttributeError", "'getcwd'"),
    "import os.path\nos.path.os": ("AttributeError", "'os'"),
    "import IPython.display\nIPython.display.get_ipython": ("AttributeError", "'get_ipython'"),
    "import logging\nlogging.sys": ("AttributeError", "'sys'"),
    "exec('import os')": ("ImportRefused", "'os'"),
    "exec('import os', {})": ("ImportRefused", "'os'"),
    "eval('__import__(\"os\")', {})": ("ImportRefused", "'os'"),
    "compile('1', 'x', 'eval')": ("BuiltinRefused", "compile()"),
    "input('name?')": ("BuiltinRefused", "input()"),
    "breakpoint()": ("BuiltinRefused", "breakpoint()"),
    "help()": ("BuiltinRefused", "help()"),
    "help('modules')": ("BuiltinRefused", "help()"),
    "open('/etc/hostname')": ("PermissionError", "scratch"),
    "open('../c/k.json')": ("PermissionError", "scratch"),
    "import io\nio.open('/etc/hostname')": ("PermissionError", "scratch"),
    "import tokenize\ntokenize.open('/etc/hostname')": ("BuiltinRefused", "tokenize.open()"),
    "import statistics\nstatistics.sys": ("AttributeError", "'sys'"),
    "import random\nrandom._os": ("AttributeError", "'_os'"),
    "import json\njson.codecs": ("AttributeError", "'codecs'"),
    "import re\nre.enum": ("AttributeError", "'enum'"),
    "(lambda: 0).__globals__": ("AttributeRefused", "line 1: the attribute __globals__"),
    "1\nmatch len:\n    case object(__globals__=g): pass": ("AttributeRefused", "line 3: the attribute __globals__"),
    "!ls": ("MagicRefused", "'ls'"),
    "names = !ls": ("MagicRefused", "'ls'"),
    "%%bash\nls": ("MagicRefused", "%%bash"),
    "%run x.py": ("MagicRefused", "%run"),
    "%load_ext storemagic": ("MagicRefused", "%load_ext"),
    "%%writefile x\ny": ("MagicRefused", "%%writefile"),
    "%cd /": ("MagicRefused", "%cd"),
    "%pip --version": ("MagicRefused", "%pip"),
    "%edit": ("MagicRefused", "%edit"),
    "%history -g": ("MagicRefused", "%history"),
    "%pycat x": ("MagicRefused", "%pycat"),
    "%ls": ("MagicRefused", "%ls"),
    "%nosuchmagic": ("UsageError", "there is no magic %nosuchmagic; %lsmagic lists"),
    "%%nosuchmagic\n1": ("UsageError", "there is no magic %%nosuchmagic; %lsmagic lists"),
    "%debug": ("MagicRefused", "%debug is refused by the policy of this session: the frames of an error are not kept"),
    "get_ipython().kernel": ("AttributeError", "'kernel'"),
    "get_ipython().getoutput('ls')": ("MagicRefused", "'ls'"),
}


@pytest.mark.parametrize("code", REFUSED_BY_NAME)
def test_what_the_policy_refuses_is_an_error_of_the_step_that_says_what_was_refused(
    kernel: BareKernel, code: str
) -> None:
    """Ours: refused by name, as an exception, with the kernel fit for the next step."""
    ename, said = REFUSED_BY_NAME[code]
    outcome = kernel.run(code)
    assert (outcome.status, outcome.ename) == ("error", ename)
    assert said in outcome.evalue
    assert kernel.run("1 + 1").result == "2"


def test_a_refused_import_says_what_to_do_and_is_a_plain_import_error(kernel: BareKernel) -> None:
    """Ours: code that tries a faster library and falls back must fall back. The list is told once, by init."""
    outcome = kernel.run("try:\n    import numpy\nexcept ImportError as error:\n    print(error.name, error)")
    assert outcome.stdout == (
        "numpy import of 'numpy' is refused by the policy: if it is installed, the user can add it with "
        "RLM_IMPORTS=numpy; the kernelspec rlm-python-data has it (RLM_KERNEL).\n"
    )


@pytest.mark.parametrize(
    "unbinding",
    [
        "try: 1 / 0\nexcept Exception as __builtins__: pass",
        "import math as __builtins__",
        "def __builtins__(): pass",
        "global __builtins__\n__builtins__ = {}",
        "__builtins__.clear()",
        "del __builtins__",
    ],
)
def test_unbinding_the_builtins_does_not_bring_back_the_real_ones(kernel: BareKernel, unbinding: str) -> None:
    """Source: sandbox facts 2.4; `exec` puts the real builtins where it finds none."""
    assert kernel.run(unbinding).status == "ok"
    assert kernel.run("import os").ename == "ImportRefused"
    assert kernel.run("len('abc')").result == "3"


HONEST = Path(__file__).with_name("honest_cells.txt")


@pytest.mark.parametrize("cell", HONEST.read_text(encoding="utf-8").split("\n# ---\n"))
def test_honest_code_of_every_kind_runs_under_the_policy(kernel: BareKernel, cell: str) -> None:
    """Ours: the policy must not cripple Python; each cell asserts what it does."""
    outcome = kernel.run(cell)
    assert outcome.traceback == ""
    assert outcome.status == "ok"


@pytest.mark.parametrize(
    "magic", ["%time 1", "%timeit -n 1 -r 1 1", "%%time\n1", "%who", "%whos", "%lsmagic", "%pprint"]
)
def test_harmless_magics_work(kernel: BareKernel, magic: str) -> None:
    """Ours: what measures and lists stays."""
    outcome = kernel.run(magic)
    assert (outcome.status, outcome.ename) == ("ok", "")
    assert outcome.stdout or outcome.results


def test_a_magic_sees_the_variables_of_the_step(kernel: BareKernel) -> None:
    """Ours: the fronts before IPython's magics must not hide the step's frame."""
    kernel.run("def f(width):\n    doubled = %time width * 2\n    return doubled\nwidth_of_it = 21")
    assert kernel.run("%time f(width_of_it)").result == "42"
    assert kernel.run("%%capture printed\nprint(width_of_it)").status == "ok"
    assert kernel.run("printed.stdout").result == "'21\\n'"


def test_a_question_mark_shows_the_documentation_as_output(kernel: BareKernel) -> None:
    """Ours: the pager's payload reaches no client of a session."""
    outcome = kernel.run("import textwrap\ntextwrap.dedent?")
    assert "Remove any common leading whitespace" in outcome.displays[0]["text/plain"]
    assert outcome.reply["payload"] == []


def test_help_of_a_thing_prints_its_documentation(kernel: BareKernel) -> None:
    """Ours: of a facade, that of the module behind it."""
    assert "bisect" in kernel.run("import bisect\nhelp(bisect)").stdout
    assert "Return the number of non-overlapping" in kernel.run("help(str.count)").stdout


def test_an_agents_step_shows_text_and_pictures_alone(kernel: BareKernel) -> None:
    """Decision 0015. HTML, Markdown and SVG are made for the record, and no client is sent them (0102)."""
    code = (
        "class Rich:\n"
        "    def __repr__(self): return 'plain'\n"
        "    def _repr_html_(self): print('asked')\n"
        "    _repr_markdown_ = _repr_svg_ = _repr_latex_ = _repr_json_ = _repr_javascript_ = _repr_html_\n"
        "display(Rich(), {'text/html': '<b>'}); display({'text/html': '<b>', 'text/plain': 'p'}, raw=True)\n"
        "Rich()"
    )
    outcome = kernel.run(code)
    assert (outcome.stdout, outcome.results) == ("asked\n" * 6, [{"text/plain": "plain"}])
    assert [list(shown) for shown in outcome.displays] == [["text/plain"]] * 3


def test_what_waits_behind_a_failed_cell_of_a_session_runs(kernel: BareKernel) -> None:
    """It may be another client's: the agent's behind a console's."""
    client = kernel.client
    sent = [client.execute(code, allow_stdin=False) for code in ("import time; time.sleep(0.1); 1 / 0", "6 * 7")]
    replies = [client.get_shell_msg(timeout=WAIT_S) for _ in sent]
    assert [reply["content"]["status"] for reply in replies] == ["error", "ok"]


def test_an_agents_step_has_nobody_to_ask(any_kernel: BareKernel) -> None:
    """Also where every import is allowed: the step fails at once and says what to do."""
    for code in ("input('name?')", "import getpass; getpass.getpass()", "import builtins; builtins.input()"):
        outcome = any_kernel.run(code)
        assert (outcome.ename, "put the value into the code" in outcome.evalue) == ("BuiltinRefused", True)


@pytest.mark.parametrize("code", ["exit", "exit()", "quit", "quit()", "exit(keep_kernel=False)"])
def test_exit_sends_a_console_away_and_leaves_the_kernel(kernel: BareKernel, code: str) -> None:
    """Source: jupyter_console#48; a typed `exit` would end the session."""
    payload = kernel.run(code, allow_stdin=True).reply["payload"]
    assert payload == [{"source": "ask_exit", "keepkernel": True}]
    assert kernel.run("1").status == "ok"


def test_with_any_import_allowed_nothing_is_restricted_but_processes(any_kernel: BareKernel) -> None:
    """Contract: every installed module, every builtin and every magic that needs no process."""
    assert any_kernel.run("import os, ctypes, importlib\nos.getpid() > 0").result == "True"
    assert any_kernel.run("eval(compile('6 * 7', 'x', 'eval'))").result == "42"
    assert any_kernel.run("len(object.__subclasses__()) > 9").result == "True"
    assert any_kernel.run("%%writefile a.txt\nx").status == "ok"
    assert any_kernel.run("%run a.txt").ename == "NameError"
    assert any_kernel.run("%history").status == "ok"
    for code in ("!ls", "%sx ls", "%%bash\nls", "%ls", "%pip list", "%debug", "%connect_info", "names = !ls"):
        assert any_kernel.run(code).ename == "MagicRefused", code


def test_a_step_that_prints_too_much_sends_its_head_and_its_tail(any_kernel: BareKernel) -> None:
    """Ours: what was dropped is said exactly, in the text and in the reply."""
    outcome = any_kernel.run("for number in range(10_000): print(f'{number:05}')")
    head, notice, tail = outcome.stdout.partition("\n[50,000 characters of stdout were dropped here; ")
    assert notice
    assert head == "".join(f"{number:05}\n" for number in range(1_000))[:5_000]
    assert tail.endswith("".join(f"{number:05}\n" for number in range(9_170, 10_000)))
    assert outcome.reply["rlm"]["dropped"] == {"stdout": 50_000, "stderr": 0}
    assert any_kernel.run("print('x' * 10)").reply["rlm"]["dropped"] == {"stdout": 0, "stderr": 0}


def test_one_giant_write_is_cut_too_and_no_message_is_large(kernel: BareKernel) -> None:
    """Ours: 12 MB in one `print` is 4 million characters in messages of at most 256 KB."""
    outcome = kernel.run("print('é' * 12_000_000)")
    assert max(outcome.stream_sizes) <= 262_144
    assert outcome.reply["rlm"]["dropped"]["stdout"] == 12_000_001 - 4_000_000
    assert outcome.stdout.count("é") == 4_000_000 - 1


def test_lone_surrogates_are_printed_in_writing(kernel: BareKernel) -> None:
    """Ours: one of them would otherwise lose the whole message in the kernel's sender."""
    assert kernel.run("print('before \\ud800 after')").stdout == "before \\ud800 after\n"


@pytest.mark.parametrize("half", ["\\ud800", "\\udcff"])
def test_a_lone_surrogate_loses_no_message(kernel: BareKernel, half: str) -> None:
    """Ours: jupyter_client's JSON loses an error, a result or a reply over one, or sends bytes that are not UTF-8."""
    error = kernel.run(f"raise ValueError('before {half} after')")
    assert (error.ename, error.evalue) == ("ValueError", f"before {half} after".encode().decode("unicode_escape"))
    shown = kernel.run(f"class Half:\n    def __repr__(self): return 'a{half}b'\nglobals()['n{half}'] = 1\nHalf()")
    assert shown.result == f"a{half}b".encode().decode("unicode_escape")
    assert [name for name, _, _ in shown.updated][-1:] == [f"n{half}".encode().decode("unicode_escape")]


def test_payloads_that_do_not_fit_a_reply_are_left_out_and_the_rest_stays(any_kernel: BareKernel) -> None:
    """Ours: a page or a next input of megabytes would end its kernel at the host."""
    page = "from IPython.core.payloadpage import page\n"
    fits = any_kernel.run(page + "page('x' * 10)")
    assert [payload["source"] for payload in fits.reply["payload"]] == ["page"]
    much = any_kernel.run(page + "page('x' * 4_000_000)\nget_ipython().set_next_input('y')")
    assert [payload["text"] for payload in much.reply["payload"]] == ["y"]
    assert much.stderr == "[payloads left out: 1; a reply has room for 400,000 characters]\n"
    assert any_kernel.run("1").reply["payload"] == []


def test_a_giant_result_is_cut_before_it_is_built(kernel: BareKernel) -> None:
    """Ours: of 100 million characters no second copy is made, and the cut says what to do."""
    for code in ("'x' * 100_000_000", "['x' * 1_000_000] * 500", "{'x' * 1_000_000: 1}", "bytes(10_000_000)"):
        result = kernel.run(code).result or ""
        assert len(result) < 500_000
        assert "characters; bind the value to a name and read it in parts]" in result


def test_a_long_container_says_how_many_items_are_not_shown(kernel: BareKernel) -> None:
    """Ours: IPython would write an ellipsis."""
    assert (kernel.run("[0] * 20_007").result or "").endswith("… 7 more items]")


def test_a_result_is_shown_by_its_own_repr_and_kept_as_underscore(any_kernel: BareKernel) -> None:
    """Ours: an honest class describes itself; the last value can be used again, as in any Python."""
    assert any_kernel.run("class Point:\n    def __repr__(self): return 'here'\n[Point()]").result == "[here]"
    assert any_kernel.run("len(_)").result == "1"
    assert any_kernel.run("3;").result is None
    assert any_kernel.run("_ = 'mine'\n3").result == "3"
    assert any_kernel.run("_").result == "'mine'"


def test_an_integer_too_long_for_decimal_is_shown_in_hexadecimal(kernel: BareKernel) -> None:
    """Source: CPython's limit of 4,300 digits, which would make an honest result an error."""
    assert (kernel.run("10 ** 5_000").result or "").startswith("0x31e2")


def test_a_picture_that_a_step_registers_for_a_plain_type_is_shown(any_kernel: BareKernel) -> None:
    """Plain types take a short way to their text, unless somebody has said how they look."""
    register = "get_ipython().display_formatter.formatters['image/png'].for_type(complex, lambda value: b'png')"
    assert any_kernel.run("1j").results == [{"text/plain": "1j"}]
    assert any_kernel.run(f"{register}\n1j").results[0].keys() == {"text/plain", "image/png"}


@pytest.mark.parametrize(
    ("cell", "result"),
    [
        (">>> 1 + 1", "2"),
        ("In [1]: 1 + 1", "2"),
        ("  1 + 1", "2"),
        ("value = %timeit -o -n1 -r1 -q pass\ntype(value).__name__", "'TimeitResult'"),
        ("import asyncio\nawait asyncio.sleep(0, 7)", "7"),
        ("[part async for part in (n async for n in aiter([]))] if False else 8", "8"),
        ("await_ = 9; await_", "9"),
    ],
)
def test_what_is_ipython_s_own_is_still_understood(any_kernel: BareKernel, cell: str, result: str) -> None:
    """Only a cell that is plain Python already goes past IPython's transformers."""
    assert any_kernel.run(cell).result == result


def test_a_transformer_that_a_step_adds_is_asked(any_kernel: BareKernel) -> None:
    """Also for what is plain Python."""
    any_kernel.run("ip = get_ipython()")
    any_kernel.run("ip.input_transformers_post.append(lambda lines: [line.replace('one', '1') for line in lines])")
    assert any_kernel.run("one + one").result == "2"
    any_kernel.run("ip.input_transformers_post.clear()")


def test_a_warning_of_the_compiler_names_its_step_and_comes_once(any_kernel: BareKernel) -> None:
    """A step is parsed once, under its own name."""
    any_kernel.run("import warnings\nwarnings.simplefilter('always')")
    printed = any_kernel.run("text = '\\d'").stderr
    assert printed.startswith("In[")
    assert printed.count("Warning: invalid escape") == 1


def test_only_text_and_pictures_are_shown(kernel: BareKernel) -> None:
    """Ours: other types are named, not sent."""
    picture = (
        "class Picture:\n    def _repr_png_(self): return b'\\x89PNG'\n    def _repr_html_(self): return '<b>x</b>'"
    )
    assert kernel.run(f"{picture}\nPicture()").results[0].keys() == {"text/plain", "image/png"}
    assert kernel.run("display({'text/html': '<b>'}, raw=True)").displays == [
        {"text/plain": "[an output of type text/html is not shown: text, PNG and JPEG are]"}
    ]


def test_a_flood_of_displays_is_stopped_and_said(kernel: BareKernel) -> None:
    """Ours: at most 999 in one step; the next step may show again."""
    outcome = kernel.run("for number in range(3_000): display(number)")
    assert len(outcome.displays) == 999
    assert outcome.stderr.count("further displays of the step are dropped") == 1
    assert len(kernel.run("display(1)").displays) == 1


def test_the_reply_names_what_the_step_bound(kernel: BareKernel) -> None:
    """Contract: name, type and size of each name bound or rebound, none of the shell's own."""
    first = kernel.run("import re\nwords = re.findall('a.', 'abac')\ntotal = len(words)\nwords")
    assert sorted(first.updated) == [["re", "module", None], ["total", "int", None], ["words", "list", 2]]
    assert kernel.run("total = 2\nwords.append('x')").updated == [["total", "int", None]]
    assert kernel.run("del words").updated == []


def test_an_error_shows_the_steps_lines_and_none_of_the_machinery(kernel: BareKernel) -> None:
    """Ours: frames of IPython, of ipykernel and of this package are not shown."""
    outcome = kernel.run("import json\ndef load(text):\n    return json.loads(text)\nload('{')")
    assert (outcome.ename, outcome.evalue) == (
        "JSONDecodeError",
        "Expecting property name enclosed in double quotes: line 1 column 2 (char 1)",
    )
    places = [line.strip() for line in outcome.traceback.splitlines() if line.startswith("  ") and ", in " in line]
    assert [place.rpartition(", in ")[2] for place in places[:3]] == ["<module>", "load", "loads"]
    assert places[2].startswith("json/__init__.py, line ")
    assert "    return json.loads(text)" in outcome.traceback
    assert places[0] == f"In[{outcome.reply['execution_count']}], line 4, in <module>"
    assert "\x1b" not in outcome.traceback
