"""Code in the kernel asks questions about pieces of the text, and a script answers them in the place of an agent.

Is: a part of `bin/demo`: a few questions that the driver answers itself, and then so many that a second
connection takes them, as a sub-agent does; and the check of what the code made of the answers.
Is not: an agent. The script looks for words and understands nothing; it says so, and what an agent would do instead.
"""

from __future__ import annotations

import ast
import asyncio
import inspect
import os
import re
import sys
import tempfile
import tokenize
import warnings
from collections.abc import Mapping
from contextlib import AsyncExitStack
from io import StringIO
from pathlib import Path
from typing import Any, Final

from mcp import Client, StdioServerParameters

from demo.agent import ROOT, Agent, SessionFailed, first_of, until_ended

FEW: Final = 5
TAKE: Final = 20
PAGE_CHARS: Final = 40_000
SHOWN_CHARS: Final = 1_200
"""Of a docstring, at most."""
NETWORK: Final = re.compile(
    r"\b(?:sockets?|HTTP|FTP|SMTP|POP3?|IMAP4?|URLs?|network|internet|servers?|e-?mail)\b", re.IGNORECASE
)
PROMPT: Final = "Does this module have to do with networks? Answer yes or no."
SHAPES: Final = """
import ast, warnings
warnings.simplefilter("ignore")
said_of = {name: (ast.get_docstring(ast.parse(text)) or "")[:SHOWN] for name, text in documents.items()}
asked = {name: text for name, text in said_of.items() if text}
f"{len(asked)} of {len(said_of)} modules say what they are, in {sum(map(len, asked.values())):,} characters"
""".replace("SHOWN", str(SHOWN_CHARS))
ASK: Final = """
names = sorted(asked)[{first}:{last}]
got = llm_query_batched({prompt!r}, [asked[name] for name in names], schema=["yes", "no"])
answers = {{name: said for name, said in zip(names, got)}}
f"{{got.count('yes')}} of {{len(got)}} modules have to do with networks"
"""


class Script:
    """Answers pages of questions by a rule, where an agent would read and think."""

    def __init__(self, agent: Agent) -> None:
        self._agent = agent
        self.answered = 0

    def answers_to(self, page: Mapping[str, Any]) -> list[dict[str, Any]]:
        """Of all questions of a page, none of which may be cut."""
        items = page["questions"]["items"]
        if cut := [item["id"] for item in items if item.get("cut")]:
            raise SessionFailed(f"questions {cut} are cut on a page of {PAGE_CHARS:,} characters")
        self.answered += len(items)
        return [{"id": item["id"], "text": said_by_rule(item["text"])} for item in items]

    async def by_itself(self, page: dict[str, Any]) -> dict[str, Any]:
        """As the driver: page by page, until the step has ended."""
        while page["status"] in ("needs_answers", "running"):
            answers = self.answers_to(page) if page["status"] == "needs_answers" else []
            page = await self._answer(answers=answers)
        return page

    async def by_leases(self) -> None:
        """As a sub-agent that was given `delegate`: so many at a time, until there are none."""
        page = await self._answer(take=TAKE)
        while page["status"] == "needs_answers" and page["questions"]["items"]:
            page = await self._answer(answers=self.answers_to(page), take=TAKE)

    async def _answer(self, **arguments: Any) -> dict[str, Any]:
        page = await self._agent.call(
            "rlm_answer", session_id=self._agent.session_id, max_output_chars=PAGE_CHARS, **arguments
        )
        if page["rejected"]:
            raise SessionFailed(f"nobody waited for the answers to {page['rejected']}")
        return page


def said_by_rule(text: str) -> str:
    """The script's answer."""
    return "yes" if NETWORK.search(text) else "no"


def main(library: Path) -> int:
    """Ask, answer and check; returns the exit status."""
    print(
        "\nQuestions of code to a model, by llm_query_batched. Nobody here has a model: A SCRIPT ANSWERS, by looking "
        "for words.\nA real agent would read each question and answer by rlm_answer, or give many to its sub-agents.",
        flush=True,
    )
    try:
        few, all_of_them = asyncio.run(run_session(library))
    except BaseExceptionGroup as group:  # the client's task groups wrap what is raised inside of them
        if (failed := group.subgroup(SessionFailed)) is None:
            raise
        print(f"bin/demo: {first_of(failed)}", file=sys.stderr)
        return 1
    expected = a_second_time(library)
    first = dict(sorted(expected.items())[:FEW])
    for what, found, counted in (("a few answers", few, first), ("the answers", all_of_them, expected)):
        if found != counted:
            wrong = sorted(name for name in {*found, *counted} if found.get(name) != counted.get(name))
            print(f"MISMATCH in {what}: the session and the check differ in {wrong[:10]}", file=sys.stderr)
            return 1
    print(f"Checked: {len(expected)} answers are those of the same rule over the files' own docstrings.")
    return 0


async def run_session(library: Path) -> tuple[dict[str, str], dict[str, str]]:
    """One session: the answers to a few questions, and to all."""
    with tempfile.TemporaryDirectory(prefix="rlm-demo-") as state:
        hosts = Path(state, "hosts")
        server = StdioServerParameters(
            command=str(ROOT / "bin" / "rlm-mcp"),
            env={
                "RLM_CONTEXT_ROOTS": str(library),
                "RLM_STATE_DIR": state,
                "RLM_HOST": os.environ.get("RLM_HOST", "auto"),
                "RLM_HOST_DIR": str(hosts),
                "RLM_HOST_IDLE_S": "0",
                "RLM_HOST_WAIT_S": "60",
                "RLM_SUBCALL_BACKEND": "agent",
                "RLM_SUBCALL_MAX": "1000",
            },
            cwd=library,
        )
        async with AsyncExitStack() as clients:
            driver = Agent(await clients.enter_async_context(Client(server)))
            context, _ = await driver.open(["*.py"])
            print(f"  {context['document_count']} modules loaded; {await asked(driver, SHAPES)}")
            few = await answered_by_the_driver(driver)
            other = driver
            if await asyncio.to_thread(lambda: any(hosts.glob("*.sock"))):  # one host serves both connections
                other = Agent(await clients.enter_async_context(Client(server)))
                other.session_id = driver.session_id
            all_of_them = await answered_by_another(driver, other)
            await driver.call("rlm_finalize", session_id=driver.session_id, final_var_name="answers")
        await asyncio.to_thread(until_ended, hosts)
        return few, all_of_them


async def asked(driver: Agent, code: str) -> str:
    """A step that asks nobody."""
    data = await driver.call("rlm_run_repl", session_id=driver.session_id, code=code)
    return result_of(data)


def result_of(data: Mapping[str, Any]) -> str:
    """Of a step that has ended well."""
    if data["status"] != "ok":
        raise SessionFailed(f"step {data['step_index']} ended with {data['status']}: {data['error'] or data}")
    return str(data["result"]).strip("'")


async def answered_by_the_driver(driver: Agent) -> dict[str, str]:
    """A few questions, which come to the driver's own window."""
    script, before = Script(driver), driver.chars_received
    code = ASK.format(first=0, last=FEW, prompt=PROMPT)
    page = await driver.call("rlm_run_repl", session_id=driver.session_id, code=code, max_output_chars=PAGE_CHARS)
    said = result_of(await script.by_itself(page))
    seen = driver.chars_received - before
    print(
        f"  {script.answered} questions, answered by the driver (the script) itself: {said}; it saw {seen:,} characters"
    )
    return await answers_of(driver)


async def answered_by_another(driver: Agent, other: Agent) -> dict[str, str]:
    """All of them, which another connection takes: their texts do not come to the driver's window."""
    script, before, others_before = Script(other), driver.chars_received, other.chars_received
    code = ASK.format(first=0, last=None, prompt=PROMPT)
    data = await driver.call("rlm_run_repl", session_id=driver.session_id, code=code)
    if data["status"] == "needs_answers":
        waiting = data["questions"]["waiting"]
        print(f"  {waiting} more wait, since what is answered is not asked again. The message for sub-agents:")
        print(f"    {data['questions']['delegate']}")
    index = data["step_index"]
    while data["status"] in ("needs_answers", "running"):  # more may be asked after the other has found no more
        await script.by_leases()
        data = await driver.call("rlm_await_step", session_id=driver.session_id, step_index=index)
    said = result_of(data)
    others = other.chars_received - others_before
    if other is driver:
        print("  (No host serves here, so that they were taken over the driver's own connection.)")
        seen = driver.chars_received - before - others
    else:
        seen = driver.chars_received - before
    print(
        f"  {script.answered} questions, taken by twenties by a second script in a sub-agent's place: {said};\n"
        f"  the driver saw {seen:,} characters of that, who answered {others:,}"
    )
    return await answers_of(driver)


async def answers_of(driver: Agent) -> dict[str, str]:
    """What the code has."""
    data = await driver.call("rlm_get_var", session_id=driver.session_id, var_name="answers", limit=100_000)
    value = ast.literal_eval(data["value"]) if data["text"] else data["value"]
    return dict(value)


def a_second_time(library: Path) -> dict[str, str]:
    """The same rule over the same docstrings, found in this process and by Python's tokens, not by its parser."""
    found = {}
    for path in {path.resolve() for path in library.glob("*.py")}:
        if path.parent == library and (text := docstring(path.read_bytes().decode("utf-8-sig", "surrogateescape"))):
            found[path.name] = said_by_rule(text[:SHOWN_CHARS])
    return found


def docstring(source: str) -> str:
    """A module's, cleaned as `help` shows it; empty where it has none."""
    parts = []
    for token in tokenize.generate_tokens(StringIO(source).readline):
        if token.type == tokenize.STRING:
            parts.append(token.string)
        elif token.type == tokenize.NEWLINE or token.string == ";":
            break
        elif token.type not in (tokenize.COMMENT, tokenize.NL):
            return ""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        text = ast.literal_eval(" ".join(parts)) if parts else ""
    return inspect.cleandoc(text) if isinstance(text, str) else ""
