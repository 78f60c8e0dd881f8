"""What models do by habit in a REPL: it works, or one sentence says what does."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Final, NamedTuple

import pytest

from tests.sessions import AMPLE, SessionDriver, open_registry

pytestmark = pytest.mark.anyio


class Works(NamedTuple):
    """The step ends well; its result, or what it printed."""

    shown: str


class Says(NamedTuple):
    """The step fails with these words in what the agent reads."""

    words: str


FILES: Final = (
    "use `documents` for the text; open(), os.path and pathlib in the directory `scratch`; the user can add modules"
)
PROCESSES: Final = "no process can be started; use concurrent.futures.ThreadPoolExecutor"
NETWORK: Final = "there is no network; the text is in `context` and `documents`"
ONE_TEXT: Final = "`context` is one str; documents[name] is one document's text."
NAMES_ALONE: Final = "`for name in documents` gives names; documents[name] is the text, a str."
FINAL: Final = "The final answer is given by the tool rlm_finalize"
HABITS: Final[dict[str, Works | Says]] = {
    # files and directories
    "import os": Says(FILES),
    "import os, json": Says(FILES),
    "from os import listdir": Says(FILES),
    "import os.path\nos.path.basename('/a/b.txt')": Works("'b.txt'"),
    "from os import path\npath.splitext('a.log')": Works("('a', '.log')"),
    "from pathlib import Path\nPath('logs/a.log').suffix": Works("'.log'"),
    "import glob": Says(FILES),
    "open('a.log')": Says("It is a document: documents['a.log'] is its text."),
    "open('/data/logs/a.log').read()": Says("It is a document: documents['a.log'] is its text."),
    "from pathlib import Path\nPath('a.log').read_text()": Says("documents['a.log'] is its text"),
    "open('./logs/../a.log')": Says("documents['a.log'] is its text"),
    "open(b'a.log')": Says("documents['a.log'] is its text"),
    "open('c.log')": Says("documents['deep/c.log'] is its text"),
    "documents['c.log']": Says("the nearest name is 'deep/c.log'"),
    "with open('notes.txt', 'w') as f: f.write('kept')\nopen('notes.txt').read()": Works("'kept'"),
    "import sqlite3": Says("use dict, Counter or sorted(); the user can add modules (RLM_IMPORTS)"),
    # modules that do no harm
    "import sys\nsys.version_info >= (3, 11), sys.getsizeof('') > 0": Works("(True, True)"),
    "import sys\nprint('to stderr', file=sys.stderr)": Works("to stderr"),
    "import sys\nsys.modules": Says("module 'sys' has no attribute 'modules' in this session: the policy leaves that"),
    "import os.path\nos.getcwd()": Says("in this session, whose policy admits os.path of it alone; the user can add"),
    "import gzip, io\ngzip.decompress(gzip.compress(b'x'))": Works("b'x'"),
    "import bz2, lzma\nbz2.decompress(bz2.compress(lzma.compress(b'x')))[:1]": Works("b'\\xfd'"),
    "import tomllib\ntomllib.loads('a = 1')": Works("{'a': 1}"),
    "import xml.etree.ElementTree as ET\nET.fromstring('<a><b/></a>')[0].tag": Works("'b'"),
    "import email\nemail.message_from_string('Subject: x\\n\\nbody')['Subject']": Works("'x'"),
    "from email.parser import Parser\nParser().parsestr('To: y\\n\\n')['To']": Works("'y'"),
    "import logging\nlogging.getLogger('a').warning('careful')": Works("careful"),
    "import traceback\ntry: 1 / 0\nexcept Exception: print(traceback.format_exc())": Works("ZeroDivisionError"),
    "import inspect\ndef f(a, b=1): pass\nstr(inspect.signature(f))": Works("'(a, b=1)'"),
    "import inspect\ninspect.currentframe()": Says("module 'inspect' has no attribute 'currentframe'"),
    "import timeit\ntimeit.timeit('1', number=1) >= 0": Works("True"),
    "import codecs, configparser, ipaddress, queue, shlex\nshlex.split('a \"b c\"')": Works("['a', 'b c']"),
    "from IPython.display import display\ndisplay('shown')": Works("'shown'"),
    "import colections": Says("did you mean collections?"),
    "import numpy as np": Says("RLM_IMPORTS=numpy"),
    # processes and the network
    "import subprocess": Says(PROCESSES),
    "!ls": Says("no process can be started in a session"),
    "import multiprocessing": Says(PROCESSES),
    "import signal\nsignal.alarm(5)": Says("timeout_ms of rlm_run_repl ends a long step"),
    "from concurrent.futures import *\nwith ThreadPoolExecutor() as pool: print(list(pool.map(len, ['ab'])))": Works(
        "[2]"
    ),
    "from concurrent.futures import ProcessPoolExecutor\nProcessPoolExecutor()": Says("use ThreadPoolExecutor"),
    "from concurrent.futures.process import ProcessPoolExecutor": Says(PROCESSES),
    "import requests": Says(NETWORK),
    "import urllib.request": Says(NETWORK),
    # the context
    "for name, text in documents: pass": Says("`for name, text in documents.items()` gives both."),
    "documents[:3]": Says("list(documents)[...] is names, list(documents.values())[...] their texts"),
    "documents[0]": Says("list(documents)[0] is a name, list(documents.values())[0] its text"),
    "documents['a.lgo']": Says("the nearest names are 'a.log'"),
    "ctx[:100]": Says("The loaded text is `context`"),
    "contxt[:100]": Says("Did you mean context?"),
    "lenght = 5\nlength": Says("Did you mean lenght?"),
    "pritn(1)": Says("Did you mean print?"),
    "len(context)": Works("12"),
    "context['a.log']": Says(ONE_TEXT),
    "for line in range(1): context[0]['text']": Says(ONE_TEXT),
    "context.items()": Says(ONE_TEXT),
    "context.read()": Says(ONE_TEXT),
    "for doc in documents: print(doc['text'])": Says(NAMES_ALONE),
    "for doc in documents:\n    n = 1\n    print(doc['text'])": Says(NAMES_ALONE),
    "for doc in documents: print(doc.content)": Says(NAMES_ALONE),
    "documents['a.log']['text']": Says(NAMES_ALONE),
    "documents.search('first')": Says("documents[name] is a text, documents.items() gives both"),
    "documents['first']": Says("the first names are 'a.log', 'b.log'"),
    "{'a': 'b'}['a']['text']": Says("string indices must be integers"),
    "'text'.content": Says("'str' object has no attribute 'content'"),
    "del context\ncontext": Says("''.join(documents.values()) is the text"),
    "context = ''.join(documents.values())\nlen(context)": Works("12"),
    "import csv\nlist(csv.reader(open('a.log')))": Says("documents['a.log'] is its text"),
    "import csv, io\nlist(csv.reader(io.StringIO(documents['a.log'])))": Works("[['first']]"),
    "import json\njson.loads(context)": Says("Expecting value: line 1 column 1"),
    "import re\nre.findall(r'^f\\w+', context, re.M)": Works("['first']"),
    "read_file('a.log')": Says("The loaded text is `context`"),
    # the field's own words
    "from rlm import *": Says("are there without it, and rlm_finalize gives the answer"),
    "from rlm import llm_query": Says("are there without it, and rlm_finalize gives the answer"),
    "submit('answer')": Says(FINAL),
    "python\nprint(1)": Says("Send Python alone, without Markdown around it."),
    "FINAL('answer')": Says(FINAL),
    "FINAL_VAR(answer)": Says(FINAL),
    "sub_llm('what is it?')": Says("llm_query(prompt, text) asks a model"),
    "rlm_finalize('answer')": Says("rlm_finalize is a tool of this server: call it beside rlm_run_repl"),
    "rlm_get_var('answer')": Says("rlm_get_var is a tool of this server"),
    "SHOW_VARS()": Says("%whos lists the session's variables"),
    "```python\n1 + 1\n```": Works("2"),
    "```repl\n1 + 1\n```\n": Works("2"),
    "```\n1 + 1\n```": Works("2"),
    "~~~py\n1 + 1\n~~~": Works("2"),
    "````python {cell}\ns = '''\n```\n'''\ns\n````": Works("'\\n```\\n'"),
    "Here it is:\n```python\n1\n```": Says("SyntaxError"),
    "1\n```python\n2\n```": Says("Send Python alone, without Markdown around it."),
    ">>> 1 + 1": Works("2"),
    "Out[3]": Says("Earlier results are not kept: `_` is the last one"),
    # Python's own ways
    "import asyncio\nasync def main(): return 5\nasyncio.run(main())": Says("write `await main()` instead"),
    "import asyncio\nasync def main(): return 5\nawait main()": Works("5"),
    "import asyncio\nasync def main(): return 5\nasyncio.get_event_loop().run_until_complete(main())": Says(
        "write `await main()` instead"
    ),
    "import asyncio\nasync def main(): return 5\nasyncio.new_event_loop().run_until_complete(main())": Says(
        "write `await main()` instead"
    ),
    "import asyncio\nasync def main(): return 5\nwith asyncio.Runner() as r: r.run(main())": Says(
        "write `await main()` instead"
    ),
    "import asyncio\nasync def main(): return 5\nasyncio.Runner().run(main())": Says("write `await main()` instead"),
    "import asyncio\nasyncio.run(asyncio.sleep(0))": Says("write `await asyncio.sleep(0)` instead"),
    "import asyncio\nasyncio.run(\n    main=asyncio.gather(*[]), debug=True)": Says(
        "write `await asyncio.gather(*[])` "
    ),
    "import asyncio\nasync def main(n): return n\né = asyncio.Runner().run(main('ü'))": Says(
        "write `await main('ü')` "
    ),
    "import asyncio\nasync def main(): return 5\nc = main()\nasyncio.run(c)": Says("write `await main()` instead"),
    "input('name?')": Says("nobody is there to answer"),
    "%lsmagic": Works("%time"),
    "!pip install pandas": Says("no package can be installed in a session; the user can add modules (RLM_IMPORTS)"),
    "pip install pandas": Says("No package can be installed in a session; the user can add modules (RLM_IMPORTS)"),
    "ls": Says("No process can be started here; use Python."),
    "lines = !grep first a.log": Says("no process can be started in a session; use Python"),
    "%%bash\nls": Says("no process can be started. %lsmagic lists those that are allowed"),
    "%%writefile notes.txt\nkept": Says("open() reads and writes files in the directory `scratch`"),
    "%matplotlib inline": Says("a figure is shown by itself, as the last line or by display()"),
    "%%markdown\n# Title": Says("print() shows text"),
    "%load_ext autoreload": Says("%lsmagic lists those that are allowed"),
    "%%time\nsum(range(10))": Works("45"),
    "%%capture out\nprint('caught')": Works(""),
    "import sys, io\nold, sys.stdout = sys.stdout, io.StringIO()\nprint('caught')\n"
    "text, sys.stdout = sys.stdout.getvalue(), old\ntext": Works("'caught\\n'"),
    "async def main(): return 5\nmain()": Works("[main() has not run: `await main()` runs it]"),
    "from IPython.display import Markdown, display\ndisplay(Markdown('# Title'))": Works("# Title"),
    "%pip install pandas": Says("%pip is refused by the policy of this session"),
    "if __name__ == '__main__': print('main')": Works("main"),
    "return 5": Says("'return' outside function"),
}


@pytest.fixture(scope="module")
async def session(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[SessionDriver]:
    """A session over two documents."""
    directory = tmp_path_factory.mktemp("habits")
    data = directory / "data"
    data.mkdir()
    (data / "a.log").write_text("first\n")
    (data / "b.log").write_text("other\n")
    (data / "deep").mkdir()
    (data / "deep" / "c.log").write_text("")
    async with open_registry(directory / "state", RLM_CONTEXT_ROOTS=str(data)) as registry:
        told = await registry.init_context(context_text=None, context_paths=[str(data)], limits=AMPLE)
        yield SessionDriver(registry, told.session_id)


@pytest.mark.parametrize("code", HABITS)
async def test_a_habit_works_or_is_told_what_does(session: SessionDriver, code: str) -> None:
    """Each costs the agent at most 500 characters beside its own code, and shows no place of the host."""
    expected = HABITS[code]
    report = await session.run(code)
    if isinstance(expected, Works):
        assert report.error is None
        assert expected.shown in "\n".join([report.result or "", report.stdout, report.stderr])
        return
    assert report.status == "error"
    assert report.error is not None
    said = report.error.traceback
    assert expected.words in said
    assert len(said) + len(report.error.evalue) <= 500
    assert "never awaited" not in report.stderr
    assert str(session.registry._run_dir.path) not in said


@pytest.mark.parametrize(
    "code", ["del context\nNone.items()", "context = None\ncontext.items()", "context = []\ncontext.foo"]
)
async def test_what_is_no_text_is_not_said_to_be_one(session: SessionDriver, code: str) -> None:
    """Where a step bound `context` to something else, or unbound it: then `None` is it as little as any other."""
    report = await session.run(f"before = context\n{code}")
    await session.ok("context = before")
    assert report.error is not None
    assert ONE_TEXT not in report.error.traceback


async def test_a_coroutine_that_asyncio_run_refused_is_spoken_of_once(session: SessionDriver) -> None:
    """Nothing about it is said at a later, unrelated line."""
    await session.run("import asyncio\nasync def main(): return 5\nasyncio.run(main())")
    later = await session.ok("1")
    assert later.stderr == ""


ANY_HABITS: Final = {
    "open('a.log')": "documents['a.log'] is its text",
    "from multiprocessing.pool import ThreadPool\nThreadPool(2)": "concurrent.futures.ThreadPoolExecutor runs threads",
    "from concurrent.futures import ProcessPoolExecutor\nProcessPoolExecutor().submit(len, 'a').result()": (
        "concurrent.futures.ThreadPoolExecutor runs threads"
    ),
    "import subprocess\nsubprocess.run(['ls'])": "No process can be started here",
    "import os\nos.fork()": "No process can be started here",
    "import os\nos.posix_spawn('/bin/ls', ['ls'], {})": "No process can be started here",
    "import pty\npty.fork()": "No process can be started here",
    "import shelve\nshelve.open('x')": "keep a dict, and write it with json or pickle",
    "import dbm\ndbm.open('d', 'c')": "keep a dict, and write it with json or pickle",
    "import fcntl\nfcntl.flock(open('x', 'w'), 2)": "No file can be locked here",
    "import fcntl\nfcntl.lockf(open('x', 'w'), 2)": "No file can be locked here",
    "import os\nos.chmod('.', 0o700)": "A file's mode cannot be changed here",
    "import shutil\nopen('x', 'w').close()\nshutil.copy('x', 'y')": "shutil.copyfile",
    "import socket\nsocket.socket()": "There is no network here",
    "import urllib.request\nurllib.request.urlopen('http://127.0.0.1:9/')": "There is no network here",
    "import asyncio\nasync def main(): return 5\nasyncio.run(main())": "write `await main()` instead",
}


async def test_with_every_module_allowed_the_same_is_said(tmp_path: Path) -> None:
    """The walls refuse then, and their words are the operating system's; the sentence below them is ours."""
    data = tmp_path / "data"
    data.mkdir()
    (data / "a.log").write_text("first\n")
    settings: dict[str, Any] = {"RLM_CONTEXT_ROOTS": str(data), "RLM_IMPORT_POLICY": "any"}
    async with open_registry(tmp_path / "state", **settings) as registry:
        told = await registry.init_context(context_text=None, context_paths=[str(data)], limits=AMPLE)
        session = SessionDriver(registry, told.session_id)
        for code, words in ANY_HABITS.items():
            report = await session.run(code)
            assert report.error is not None, code
            assert words in report.error.traceback
            assert str(registry._run_dir.path) not in report.error.traceback


async def test_os_system_says_why_its_command_did_not_run(tmp_path: Path) -> None:
    """It raises nothing: its answer alone is a number that nobody knows."""
    async with open_registry(tmp_path / "state", RLM_IMPORT_POLICY="any") as registry:
        told = await registry.init_context(context_text="x", context_paths=None, limits=AMPLE)
        report = await SessionDriver(registry, told.session_id).ok("import os\nos.system('ls')")
        assert (report.result, report.stderr) == (
            "32512",
            "[os.system() answers 32512: no process can be started here; use Python]\n",
        )


async def test_a_task_says_where_it_is_by_its_step(session: SessionDriver) -> None:
    """As every place; a library's is its path within it."""
    code = "import asyncio\nasync def work(): await asyncio.sleep(60)\ntask = asyncio.create_task(work())"
    place = f"work() at In[{(await session.ok(code)).step_index}]:2>"
    assert f"coro=<{place.replace('at', 'running at')}" in (await session.ok("print(task)")).stdout
    report = await session.ok("print(asyncio.current_task(), asyncio.get_running_loop().call_later(60, work))")
    assert place in report.stdout
    assert "/ipykernel/" not in report.stdout
    await session.ok("task.cancel()")


async def test_a_step_that_leaves_sys_stdout_changed_hides_no_later_output(session: SessionDriver) -> None:
    """Under the allowlist `sys` is a facade: it was set there for good, while `print` wrote elsewhere."""
    caught = await session.ok("import sys, io\nsys.stdout = io.StringIO()\nprint('caught')")
    assert caught.stdout == ""
    later = await session.ok("print('printed')\nsys.stdout.write('written\\n')\nsys.stdout is not None")
    assert later.stdout == "printed\nwritten\n"
    assert later.stderr == "[sys.stdout was changed by an earlier step and is the session's own again]\n"
