"""The main job on real input: three questions whose answers need every line of Python's standard library.

Is: an MCP client that does what an agent does, with the real server over stdio: open the sources by path, look,
define functions, go through the documents in parts, keep everything in variables, read one, cite the lines behind the
answer, finalize, show the trace. It also quotes what no file has, and is refused; and its record, as a notebook, runs
again.
Is not: a test of the kernel; but what it found is checked against `independent.py`, and it exits 1 if they differ.
"""

from __future__ import annotations

import asyncio
import os
import sys
import sysconfig
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from mcp import Client, StdioServerParameters

from demo import asking, five_lines, independent, notebook
from demo.agent import ROOT, Agent, SessionFailed, first_of, say_citations, say_server, show_trace, until_ended

CALL: Final = "get_event_loop"
PARTS: Final = 8
CHECKED_A_LINE: Final = 250
"""Files per progress line of the check, which takes longer than the session."""
NOT_THE_LIBRARY: Final = {"site-packages", "dist-packages", "__pycache__"}

LOOK: Final = """
names, seen = list(documents), look()
print(f"{seen.documents:,} documents, {seen.chars:,} characters, {seen.lines:,} lines; first: {names[:3]}")
"""

DEFINE: Final = """
import ast, warnings
from collections import Counter

warnings.simplefilter("ignore")  # some test data holds doubtful escapes
import_counts, calls, functions, no_python = Counter(), [], [], []

def nodes(tree):
    stack = [tree]
    while stack:
        node = stack.pop()
        if type(node).__name__ not in ("JoinedStr", "TemplateStr"):  # f-strings are left out
            yield node
            stack.extend(ast.iter_child_nodes(node))

def read(name):
    try:
        tree = ast.parse(documents[name])
    except (SyntaxError, ValueError):  # ValueError: a few bytes of it are not UTF-8
        no_python.append(name)
        return
    imports = set()
    for node in nodes(tree):
        match node:
            case ast.Import():
                imports.update(alias.name.partition(".")[0] for alias in node.names)
            case ast.ImportFrom(level=0):
                imports.add(node.module.partition(".")[0])
            case ast.Call(func=ast.Attribute(attr="CALL")):
                calls.append([name, node.func.end_lineno])
            case ast.FunctionDef() | ast.AsyncFunctionDef():
                functions.append((node.lineno - node.end_lineno - 1, name, node.lineno, node.name))
    import_counts[name] = len(imports)
""".replace("CALL", CALL)

READ_PART: Final = """
for name in names[{part}::{parts}]:
    read(name)
print(f"{{len(import_counts):,}} read, {{len(functions):,}} functions, {{len(calls)}} calls")
"""

AGGREGATE: Final = """
answers = {
    "importers": [[name, count] for name, count in sorted(import_counts.items(), key=lambda x: (-x[1], x[0]))[:10]],
    "calls": sorted(calls),
    "longest": [[function, place, line, -length] for length, place, line, function in sorted(functions)[:1]],
}
said = ["Most imports:", *(f"  {count:4} {name}" for name, count in answers["importers"])]
said.append("Calls of .CALL():")
said += [f"  {name}:{line} {cite(lines(line, doc=name))}" for name, line in answers["calls"]]
for function, place, line, length in answers["longest"]:
    where = lines(line, line + 1, place)
    said.append(f"Longest function: {function} at {place}:{line}, {length} lines {cite(where)}")
report, quoted = "\\n".join(said), where.text.strip()
print(f"{len(report):,} characters, which cite {report.count('[c'):,} places; the last {cite(where)} is {quoted!r}")
""".replace("CALL", CALL)


def main(entries: Sequence[str], kept: Path | None = None) -> int:
    """Run the session and check it; returns the exit status. `kept`: where its notebook is to stay."""
    library = Path(sysconfig.get_path("stdlib")).resolve()
    patterns = context_paths(library, entries)
    try:
        session = asyncio.run(run_session(library, patterns, kept))
    except BaseExceptionGroup as group:  # the client's task groups wrap what is raised inside of them
        if (failed := group.subgroup(SessionFailed)) is None:
            raise
        print(f"bin/demo: {first_of(failed)}", file=sys.stderr)
        return 1
    status = check(source_texts(library, patterns, Path(session.loaded["prefix"])), session)
    return asking.main(library) or five_lines.main(library) or status


@dataclass(slots=True)
class Session:
    """What a session was told."""

    loaded: dict[str, Any]
    """Of the context."""
    answers: dict[str, Any]
    """Its variable of that name, as the next one."""
    no_python: list[str]
    refusal: dict[str, Any]
    """Of an answer with an invented quote."""
    final: dict[str, Any]
    repeats: bool = False
    """Whether its notebook, run again, has said the same."""


async def run_session(library: Path, patterns: list[str], kept: Path | None = None) -> Session:
    """Run one session, by default through a front and a host, which nobody else finds and which ends with it."""
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
            },
            cwd=library,
        )
        async with Client(server) as client:
            say_server(hosts)
            agent = Agent(client)
            loaded = await open_context(agent, patterns)
            session = await ask(agent, loaded)
            await show_trace(agent)
        await asyncio.to_thread(until_ended, hosts)
        path = kept or Path(state, "session.ipynb")
        session.repeats = await asyncio.to_thread(notebook.runs_again, Path(state), agent.session_id, library, path)
    share = agent.chars_received / loaded["chars"]
    print(f"\n{agent.chars_received:,} characters reached the client: {share:.3%} of what was loaded.")
    print(f"\n{session.final['final_answer']}\n")
    return session


def context_paths(library: Path, entries: Sequence[str]) -> list[str]:
    """Patterns, relative to the library, for its modules and packages, or for the packages named."""
    packages = sorted(path.name for path in library.iterdir() if path.is_dir() and path.name not in NOT_THE_LIBRARY)
    with_sources = [name for name in packages if next((library / name).rglob("*.py"), None) and name[0] != "."]
    return [f"{name}/**/*.py" for name in entries] or ["*.py", *(f"{name}/**/*.py" for name in with_sources)]


async def open_context(agent: Agent, patterns: list[str]) -> dict[str, Any]:
    """Load the sources by path; returns what the server says about the context."""
    context, seconds = await agent.open(patterns, max_runtime_ms=600_000, step_timeout_ms=300_000)
    print(
        f"Session {agent.session_id}: {context['document_count']:,} documents, {context['chars']:,} characters, "
        f"{context['lines']:,} lines loaded by path in {seconds:.2f} s\n"
    )
    return context


async def ask(agent: Agent, loaded: dict[str, Any]) -> Session:
    """The whole loop."""
    await agent.step("look", LOOK)
    await agent.step("define", DEFINE)
    for part in range(PARTS):
        await agent.step(f"read {part + 1} of {PARTS}", READ_PART.format(part=part, parts=PARTS))
    await agent.step("aggregate", AGGREGATE)
    answers, no_python, quoted = [
        (await agent.call("rlm_get_var", session_id=agent.session_id, var_name=name, limit=100_000))["value"]
        for name in ("answers", "no_python", "quoted")
    ]
    doc = answers["longest"][0][1]
    give: dict[str, Any] = {"session_id": agent.session_id, "final_var_name": "report"}
    refusal = await agent.refusal("rlm_finalize", **give, quotes=[{"text": invented(quoted), "doc": doc}])
    print(f"\nAn invented quote is refused. {refusal['code']}: {refusal['message']}")
    final = await agent.call("rlm_finalize", **give, quotes=[{"text": quoted, "doc": doc}])
    say_citations(final)
    return Session(loaded, answers, no_python, refusal, final)


def invented(quoted: str) -> str:
    """A passage that is like this one, the head of a function, and stands nowhere."""
    return quoted.replace("(", "_as_nobody_wrote_it(", 1)


def source_texts(library: Path, patterns: list[str], prefix: Path) -> dict[str, str]:
    """The same files, found and read by this process: each once, by its own name, and none outside the library.

    `prefix`: the directory that the names are relative to, as the server said it.
    """
    matches = {path for pattern in patterns for path in library.glob(pattern)}
    files: dict[Path, Path] = {}
    for path in sorted(matches, key=lambda path: (path.is_symlink(), path)):
        files.setdefault(path.resolve(), path.relative_to(library))
    return {
        str((library / path).relative_to(prefix)): independent.decoded(target)
        for target, path in files.items()
        if target.is_relative_to(library) and not any(part.startswith(".") for part in path.parts)
    }


def check(texts: dict[str, str], session: Session) -> int:
    """Compare everything that the session said with this process's own results; returns the exit status."""
    started = time.perf_counter()
    valid = {name: text for name, text in texts.items() if name not in session.no_python}

    def progress(done: int) -> None:
        if done % CHECKED_A_LINE == 0:
            print(f"Checking: {done:,} of {len(valid):,} files read a second time.", flush=True)

    expected = independent.answer(valid, CALL, progress)
    cited = [(one["status"], one["doc"], one["start_line"], one["text"]) for one in session.final["citations"]]
    nearest = [(one["status"], one["nearest"]["doc"]) for one in session.refusal.get("citations", ())]
    compared = {
        "documents": (session.loaded["document_count"], len(texts)),
        "characters": (session.loaded["chars"], sum(map(len, texts.values()))),
        "left out as no Python": ([name for name in session.no_python if is_python(texts[name])], []),
        "answers": (session.answers, expected),
        "final answer": (session.final["final_answer"], independent.report(expected, CALL)),
        "citations": (cited, independent.citations(expected, texts)),
        "its notebook, run again": (session.repeats, True),
        "refusal": ((session.refusal["code"], nearest), ("CITATION_MISMATCH", [("near", expected["longest"][0][1])])),
    }
    wrong = {what: pair for what, pair in compared.items() if pair[0] != pair[1]}
    for what, (found, ours) in wrong.items():
        print(f"MISMATCH in {what}: the session has {found!r}, the check {ours!r}", file=sys.stderr)
    if not wrong:
        seconds = time.perf_counter() - started
        print(
            f"Checked: a second computation over the tokens of {len(valid):,} files agrees in all, and the lines that "
            f"are cited say what is said of them ({seconds:.1f} s)."
        )
    return 1 if wrong else 0


def is_python(text: str) -> bool:
    """Whether a text compiles."""
    try:
        compile(text, "document", "exec", dont_inherit=True)
    except (SyntaxError, ValueError):
        return False
    return True
