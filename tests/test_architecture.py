"""The rules of the house that a program can hold: who imports whom, sizes, names, edges, waits."""

from __future__ import annotations

import ast
import re
import statistics
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from functools import cache
from graphlib import TopologicalSorter
from pathlib import Path
from typing import Final

import pytest

from rlm_kernel_mcp.kernel_code import kernel_side
from tests.parts import ROOT

PACKAGE: Final = ROOT / "rlm_kernel_mcp"
FRONTS: Final = {"__main__", "api", "cli", "commands"}
GROUND: Final = {"both_sides", "errors", "shielded", "units", "wire"}
MAY_IMPORT: Final = {
    "cluster": {
        "context",
        "doors",
        "front",
        "kernel",
        "notebook",
        "policy",
        "server",
        "session",
        "settings",
        "store",
        "text",
        "variables",
        *GROUND,
    },
    "lab": {"kernel", "session", "store", "text", *GROUND},
    "doors": {"front", "server", "session", "settings", "text", "variables", *GROUND},
    "watching": {"doors", "front", "kernel", "session", "store", "text", *GROUND},
    "telemetry": {"text", "variables", *GROUND},
    "notebook": {"context", "kernel", "server", "session", "settings", "store", "text", *GROUND},
    "server": {"front", "session", "settings", "telemetry", "text", *GROUND},
    "front": set[str](),
    "host": {"context", "doors", "front", "notebook", "server", "session", "settings", "variables", *GROUND},
    "session": {"context", "kernel", "policy", "settings", "store", "telemetry", "text", "variables", *GROUND},
    "store": {"text", *GROUND},
    "kernel": {"kernel_code", "policy", "settings", "text", *GROUND},
    "context": {"policy", "text", *GROUND},
    "settings": {"errors", "text", "variables"},
    "variables": {"errors", "text"},
    "policy": {"errors"},
    "in_kernel": {"both_sides", "kernel_code", "units", "wire"},
    "both_sides": set[str](),
    "kernel_code": set[str](),
    "shielded": {"errors"},
    "text": set[str](),
    "errors": set[str](),
    "units": set[str](),
    "wire": set[str](),
}
"""Part of the package to the parts below it. The fronts may import all but `in_kernel`."""

SHARED_BY_A_DIRECTORY: Final = {
    "session/account.py": "what a session may use and what it answers are the words of all its directories",
    "session/reports.py": "as above",
    "session/context_reports.py": "as above",
    "in_kernel/walls/syscalls.py": "the filters are made of the calls that the other walls make",
}
"""Modules that the directories below their own may import, and why they lie no deeper."""

MAPS: Final = {
    "server/transport/page.py": "it never looks into its mapping: only the kernel writes there, which is told `EFAULT`"
}
"""Host modules that map a file all the same, and why one that is cut off does not end the process."""

ON_THIS_MACHINE: Final = "kernel/placement/local/"
"""What only a kernel on the host's machine has."""
MAY_KNOW_THE_MACHINE: Final = ("kernel/placement/", "kernel/start.py", "kernel/starter.py", "kernel/kernel.py")

UNTRUSTED: Final = "kernel/untrusted/"
"""Whatever looks inside what a kernel says: it needs a second reader, and stands on the ground alone."""
UNTRUSTED_MAY_IMPORT: Final = {"errors", "text", "wire"}

SANS_IO: Final = {
    "kernel/untrusted/relayed/bundles.py",
    "kernel/untrusted/relayed/contents.py",
    "kernel/untrusted/shown/displays.py",
    "kernel/untrusted/shown/drawings.py",
    "kernel/untrusted/shown/jpeg.py",
    "kernel/untrusted/shown/png.py",
    "kernel/untrusted/shown/tags.py",
    "kernel/untrusted/snapshot_stream.py",
    "kernel/untrusted/snapshot_report.py",
    "kernel/untrusted/text_stream.py",
    "kernel/untrusted/question_frames.py",
    "kernel/untrusted/cost.py",
    "session/asking/room.py",
    "session/answering/backends/messages.py",
    "session/answering/backends/protocol.py",
    "session/answering/backends/replies.py",
    "session/answering/backends/requests.py",
    "session/answering/backends/strict.py",
    "session/answering/claude/command.py",
    "session/answering/claude/lines.py",
    "session/answering/conversing/bodies.py",
    "session/answering/conversing/by_text.py",
    "session/answering/conversing/calls.py",
    "session/answering/conversing/conversation.py",
    "session/answering/keeping.py",
    "session/answering/ledger.py",
    "session/answering/questions.py",
    "session/answering/retrying.py",
    "session/answering/tallies.py",
    "session/answering/turns.py",
    "session/children/shares.py",
    "session/children/tools.py",
    "session/children/words.py",
    "session/parked/pages.py",
    "session/parked/pile.py",
    "session/parked/reports.py",
    "session/snapshots/states.py",
    "session/states/lifecycle.py",
    "session/states/machine.py",
    "session/steps/clock.py",
    "watching/live/output.py",
    "watching/live/told.py",
    "watching/record/shaping.py",
    "watching/record/stretches.py",
    "watching/record/texts.py",
    "lab/cells.py",
    "lab/relay.py",
    "lab/room.py",
    "notebook/form/names.py",
    "notebook/form/outputs.py",
    "notebook/writing/cells.py",
    "notebook/writing/events.py",
    "notebook/writing/repeatable.py",
    "notebook/writing/words.py",
    "session/evidence/keys.py",
    "session/finding/given.py",
    "session/seen/ranges.py",
    "session/seen/recorded.py",
    "server/transport/frames.py",
    "server/transport/json_text.py",
}
"""What takes bytes and events and waits for nothing, so that nothing it is given can hold it up."""
WAITS: Final = {
    "asyncio",
    "concurrent",
    "os",
    "select",
    "selectors",
    "signal",
    "socket",
    "subprocess",
    "threading",
    "time",
}

THIRD_PARTY: Final = {
    "cluster": {"fsspec", "mcp", "ray"},
    "commands": {"IPython", "jupyter_client", "jupyter_console", "prompt_toolkit", "rich", "traitlets"},
    "host": {"anyio"},
    "server": {"anyio", "mcp", "pydantic", "pydantic_core"},
    "kernel": {"jupyter_client", "jupyter_core"},
    "lab": {"jupyter_client", "jupyter_core", "jupyter_server", "tornado", "traitlets", "zmq"},
    "notebook": {"nbconvert", "nbformat"},
    "policy": {"pydantic"},
    "watching": {"anyio", "sse_starlette", "starlette", "uvicorn"},
    "session": {"ahocorasick_rs", "httpx2", "openai", "rapidfuzz"},
    "telemetry": {"opentelemetry", "requests"},
    "in_kernel": {
        "IPython",
        "ahocorasick_rs",
        "cloudpickle",
        "ipykernel",
        "jsonschema",
        "pandas",
        "re2",
        "referencing",
        "traitlets",
        "zmq",
    },
}
"""What each part may import from outside; the parts not named: the standard library alone."""

LATE: Final = {
    "IPython",
    "ipykernel",
    "jupyter_client",
    "jupyter_core",
    "jupyter_server",
    "openai",
    "opentelemetry.sdk",
    "requests",
    "rich",
    "sqlite3",
    "tornado",
    "traitlets",
    "zmq",
}
"""Not imported before `initialize` is answered: a client leaves a slow server behind after about a second."""

READS_ITS_PROCESS: Final = {
    "__main__.py": "as the next",
    "cli.py": "the command line is its process's own client",
    "cluster/place.py": "Ray reads its settings there alone",
    "cluster/ray_actors.py": "a node's process is its own: what its machine has, less what `cluster up` has said",
    "doors/program.py": "a program is its own client",
    "doors/through_host.py": "as above: whether it wants a host",
    "front/becoming.py": "as the next: what the server that it becomes is told",
    "front/front.py": "a front says what its client has, and is a process of that client",
    "host/main.py": "where the host is: what its first client's front has left it",
    "host/serving.py": "as above: after how many seconds it ends",
    "kernel/placement/foreign_client.py": "another Jupyter client, in its own process",
    "kernel/placement/kernelspec.py": "`kernelspec install` and such",
    "kernel/placement/run_place.py": "where this process's sockets lie, whoever its clients are",
    "notebook/running/provisioner.py": "as `kernel/placement/foreign_client.py`",
    "notebook/running/rerun.py": "as above: it is the client of the kernel that it starts",
}
"""Host modules that read the environment or the directories of their own process, and why."""

FRONT_IMPORTS: Final = {"_frozen_importlib_external", "_signal", "_socket", "fcntl", "os", "sys", "time"}
"""All that a front imports, `fcntl` where it starts a host; the first is what `import` itself is made of. What is for
the type checker alone is never run."""

BROAD_EDGES: Final = {
    "cluster/node/host.py",
    "cluster/ray_actors.py",
    "cluster/shared/committing.py",
    "doors/calling/functions.py",
    "server/tools.py",
    "server/transport/lines.py",
    "session/answering/sending.py",
    "session/execution.py",
    "store/writer.py",
    "in_kernel/channels/bundles.py",
    "in_kernel/requests/expressions.py",
    "in_kernel/snapshots/taking.py",
    "in_kernel/display_text/tracebacks.py",
}
"""Where an `except Exception` may end an exception: a router's call of a node, which would have it pickled, a function
of a program, the tool edge, a line of stdin, a question to a backend, the session's reaper, the threads of the record
and of the shared store, and in the kernel where a value's own code runs: what it shows in the record, an expression
that a client asks for, its pickling, its text."""

LAST_WORDS: Final = {"in_kernel/launch.py", "in_kernel/fork_server.py"}
"""Where a kernel that cannot start says why, whatever it was, and ends."""

PICKLES: Final = {"pickle", "cPickle", "_pickle", "cloudpickle", "marshal", "shelve", "dill", "jsonpickle"}
"""What makes objects of bytes, and so runs what the bytes say. The host has nothing to read in this way."""

UNWANTED_WORDS: Final = re.compile(r"utils|helpers|manager|handler|service|engine", re.IGNORECASE)
PAYLOADS: Final = {"corpus", "program"}
"""Directories of what tests run inside a kernel: attacks, which may name any place and sleep as they like."""

POLLS: Final = {"tests/sessions.py": "POLL_S"}
"""Where tests wait for what tells nobody that it has become so, and the pause between two looks."""

MODULES_OF_DIRECTORY: Final = 12
LINES_OF_MODULE: Final = 300
LINES_OF: Final = {"in_kernel/namespace/mapped_text.py": 120}
"""Modules that may have fewer: this one writes into objects of the interpreter's, and is to be seen as a whole."""
LINES_OF_FUNCTION: Final = 50
MEDIAN_LINES_OF_FUNCTION: Final = 12


WALLS: Final = "in_kernel/walls/"
NODES_OF_A_DUPLICATE: Final = 12
"""Of the syntax tree of a function's body: what is smaller says the same by chance."""


def names() -> list[str]:
    """Every module of the package, by its path below the package."""
    return [path.relative_to(PACKAGE).as_posix() for path in sorted(PACKAGE.rglob("*.py"))]


@cache
def modules() -> dict[str, ast.Module]:
    """Every module of the package, and what it says; not asked for where tests are collected, as every worker does."""
    return {name: ast.parse((PACKAGE / name).read_text(encoding="utf-8")) for name in names()}


def part_of(name: str) -> str:
    """The messages of one matter may have a module of their own, `*_wire.py`: all of them are the part `wire`."""
    part = name.partition("/")[0].removesuffix(".py")
    return "wire" if part.endswith("_wire") else part


@cache
def imports(tree: ast.Module) -> tuple[str, ...]:
    """Full names of what a module imports, wherever in it; many rules ask for those of every module."""
    found: list[str] = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found += (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            found += (f"{node.module}.{alias.name}" for alias in node.names)
    return tuple(found)


def functions(tree: ast.Module) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    return (node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))


def test_imports_go_down_only() -> None:
    """cluster, host -> doors -> server -> session -> context, kernel, store -> policy, settings; none has in_kernel."""
    upward = []
    for name, tree in modules().items():
        part = part_of(name)
        allowed = {*MAY_IMPORT, *FRONTS} - {"in_kernel"} if part in FRONTS else {part, *MAY_IMPORT.get(part, ())}
        for module in imports(tree):
            package, _, rest = module.partition(".")
            if package == "rlm_kernel_mcp" and rest != "__version__" and part_of(rest.replace(".", "/")) not in allowed:
                upward.append(f"{name} imports {module}")
    assert upward == []


def test_each_foreign_package_has_its_one_place() -> None:
    """Mcp in server/ alone, zmq in the kernel alone: the host speaks its own ZMTP."""
    strays = []
    for name, tree in modules().items():
        known = THIRD_PARTY.get(part_of(name), set()) | {"rlm_kernel_mcp"} | sys.stdlib_module_names
        strays += [f"{name} imports {module}" for module in imports(tree) if module.partition(".")[0] not in known]
    assert strays == []


def test_the_host_maps_nothing() -> None:
    """A file that is cut off under a mapping ends the process that has it: only kernels and loaders may be ended so."""
    named = []
    for name, tree in modules().items():
        if part_of(name) != "in_kernel" and name not in MAPS:
            words = {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
            named += [name] * ("mmap" in words | {module.partition(".")[0] for module in imports(tree)})
    assert named == []


def test_the_host_unpickles_nothing() -> None:
    """Snapshots are bytes that a kernel wrote; only a kernel of the same session, behind its walls, reads them."""
    hosts = {name: tree for name, tree in modules().items() if part_of(name) != "in_kernel"}
    found = [(name, module) for name, tree in hosts.items() for module in imports(tree)]
    assert [(name, module) for name, module in found if module.partition(".")[0] in PICKLES] == []


@pytest.mark.parametrize(
    "entry", ["server.app", "commands.sessions", "commands.trace", "commands.attach", "commands.lab"]
)
def test_nothing_of_jupyter_is_imported_before_it_is_needed(entry: str) -> None:
    """In a fresh process: not before the server answers, nor for a look at the record, which is short."""
    program = f"import sys, rlm_kernel_mcp.cli, rlm_kernel_mcp.{entry}; print(*sys.modules)"
    loaded = subprocess.run(
        [sys.executable, "-I", "-c", program], capture_output=True, text=True, check=True, timeout=60
    )
    names = {*loaded.stdout.split()}
    found = LATE & (names | {name.partition(".")[0] for name in names})
    assert found == (set() if entry in ("server.app", "commands.lab") else {"sqlite3"})  # in which the record is


@pytest.mark.parametrize("entry", ["api", "cli", "server.app", "session.registry", "host.serving"])
def test_nothing_of_a_cluster_is_imported_where_none_is_asked_for(entry: str) -> None:
    """In a fresh process: it is an extra, and who does not use it pays nothing for it."""
    program = f"import sys, rlm_kernel_mcp.{entry}; print(*sys.modules)"
    loaded = subprocess.run(
        [sys.executable, "-I", "-c", program], capture_output=True, text=True, check=True, timeout=60
    )
    parts = (name.removeprefix("rlm_kernel_mcp.").partition(".")[0] for name in loaded.stdout.split())
    assert {"cluster", "ray", "fsspec"}.isdisjoint(parts)


def test_a_front_imports_next_to_nothing_and_is_one_file() -> None:
    """It is started for every thread of an agent, and what it seldom needs it reads when it needs it."""
    found = set[str]()
    for name, tree in modules().items():
        if part_of(name) == "front" and name != "front/left.py":  # which is loaded when a host has died
            run = [line for line in tree.body if not (isinstance(line, ast.If) and "TYPE_CHECKING" in ast.dump(line))]
            found |= {*imports(ast.Module(run, []))}
    assert found == FRONT_IMPORTS


def test_no_module_imports_itself_by_way_of_others() -> None:
    """Imports for types alone count too: who reads one of a circle has to read all of it."""
    names = {f"{PACKAGE.name}.{name.removesuffix('.py').replace('/', '.')}": name for name in modules()}
    arrows = {
        name: {found for module in imports(tree) for found in (module, module.rpartition(".")[0]) if found in names}
        for name, tree in ((module, modules()[file]) for module, file in names.items())
    }
    TopologicalSorter(arrows).prepare()  # raises CycleError, which names the circle


def imported_modules(tree: ast.Module) -> Iterator[str]:
    """Paths below the package of the modules of ours that a module imports."""
    for module in imports(tree):
        for found in (module, module.rpartition(".")[0]):
            path = found.removeprefix(f"{PACKAGE.name}.").replace(".", "/") + ".py"
            if path in modules():
                yield path


def test_a_folder_imports_those_below_it_and_never_the_one_above() -> None:
    """A reader of a directory need not know what it is part of, and directories side by side make no circle."""
    upward, arrows = [], dict[str, set[str]]()
    for name, tree in modules().items():
        directory = name.rpartition("/")[0]
        for found in imported_modules(tree):
            other = found.rpartition("/")[0]
            if found in SHARED_BY_A_DIRECTORY or not other or other == directory:
                continue
            if directory.startswith(f"{other}/"):
                upward.append(f"{name} imports {found}")
            arrows.setdefault(directory, set()).add(other)
    assert upward == []
    TopologicalSorter(arrows).prepare()  # raises CycleError, which names the circle


def neighbours(name: str, tree: ast.Module, word: str) -> Iterator[set[str]]:
    """For each module that a header names above or below its own: those that the name can mean."""
    header = " ".join((ast.get_docstring(tree) or "").split())
    sentence = re.search(rf"\b{word}: (.*?)(?=\. [A-Z]|\.$|$)", header)
    for named in re.findall(r"`([\w./-]+\.py)`", sentence[1] if sentence else ""):
        here = f"{name.rpartition('/')[0]}/{named}".lstrip("/")
        found = [place for place in (here, named) if place in modules()]
        yield {*found[:1]} or {path for path in modules() if path.endswith(f"/{named}")}


def test_a_header_names_as_above_and_below_what_is_there() -> None:
    """Directly, or by way of others: a reader who follows it gets to a module that this one serves or uses."""
    below = {name: {*imported_modules(tree)} for name, tree in modules().items()}
    for name in TopologicalSorter(below).static_order():
        below[name] |= {further for found in below[name] for further in below[found]}
    false = []
    for name, tree in ((name, tree) for name, tree in modules().items() if not name.endswith("__init__.py")):
        for above in neighbours(name, tree, "Above"):
            false += [] if any(name in below[one] for one in above) else [f"{name} is not below {above}"]
        for one in neighbours(name, tree, "Below"):
            false += [] if one & below[name] else [f"{name} is not above {one}"]
    assert false == []


def test_only_the_placements_and_the_start_know_that_a_kernel_is_on_this_machine() -> None:
    """All else has a kernel by `kernel/placement/base.py`, so that one elsewhere is one module more."""
    strays = [
        f"{name} imports {found}"
        for name, tree in modules().items()
        for found in imported_modules(tree)
        if found.startswith(ON_THIS_MACHINE) and not name.startswith(MAY_KNOW_THE_MACHINE)
    ]
    assert strays == []


def test_a_folder_is_known_by_heart() -> None:
    """At most twelve modules beside `__init__`, the tests' too; the corpus is not a code of ours."""
    files = [path.relative_to(ROOT) for top in (PACKAGE, ROOT / "tests") for path in top.rglob("*.py")]
    ours = (file.parent.as_posix() for file in files if file.name != "__init__.py" and "corpus" not in file.parts)
    directories = Counter(ours)
    assert {directory: count for directory, count in directories.items() if count > MODULES_OF_DIRECTORY} == {}


def test_unit_tests_lie_where_what_they_test_lies() -> None:
    """A directory that was renamed or split takes its tests along."""
    unit = ROOT / "tests" / "unit"
    directories = {path.parent.relative_to(unit) for path in unit.rglob("*.py")} - {Path("bin")}
    assert {str(one) for one in directories if not (PACKAGE / one).is_dir()} == set()


def test_what_reads_a_kernel_s_words_stands_on_the_ground_alone() -> None:
    """In one directory, and without a way to the rest of the host."""
    strays = []
    for name, tree in modules().items():
        if name.startswith(UNTRUSTED):
            for module in imports(tree):
                package, _, rest = module.partition(".")
                inner = rest.replace(".", "/")
                if (
                    package == PACKAGE.name
                    and not inner.startswith(UNTRUSTED)
                    and part_of(inner) not in UNTRUSTED_MAY_IMPORT
                ):
                    strays.append(f"{name} imports {module}")
    assert strays == []


@pytest.mark.parametrize("name", sorted(SANS_IO))
def test_what_decodes_or_decides_does_no_io(name: str) -> None:
    """A pipe, a clock or a thread that it cannot reach is none that it waits for."""
    assert WAITS & {module.partition(".")[0] for module in imports(modules()[name])} == set()


def test_the_walls_stand_on_the_standard_library_alone() -> None:
    """What holds can be read in one directory, and nothing that is loaded for it can be missing or replaced."""
    strays = []
    for name, tree in modules().items():
        if name.startswith(WALLS):
            inner = f"{PACKAGE.name}.{WALLS.rstrip('/').replace('/', '.')}"
            loaded = ast.Module([line for line in tree.body if isinstance(line, ast.Import | ast.ImportFrom)], [])
            found = [module for module in imports(loaded) if not module.startswith(inner)]
            strays += [
                f"{name}: {module}" for module in found if module.partition(".")[0] not in sys.stdlib_module_names
            ]
    assert strays == []


def test_an_image_holds_all_that_a_kernel_imports_of_the_package() -> None:
    """A container has the kernel's side alone: what that imports of the ground has to come along."""
    held = {path.relative_to(PACKAGE).as_posix() for path in kernel_side(PACKAGE)}
    needed = {found for name, tree in modules().items() if name in held for found in imported_modules(tree)}
    assert needed - held == set()


def test_no_function_is_written_twice() -> None:
    """The same body in two places: one of them is not mended with the other."""
    places: dict[str, list[str]] = {}
    for name, tree in modules().items():
        for function in functions(tree):
            body = function.body[1:] if ast.get_docstring(function) is not None else function.body
            if sum(1 for line in body for _ in ast.walk(line)) >= NODES_OF_A_DUPLICATE:
                places.setdefault("".join(map(ast.dump, body)), []).append(f"{name}: {function.name}")
    assert [found for found in places.values() if len(found) > 1] == []


def test_only_one_folder_looks_inside_a_kernel_s_message() -> None:
    """The rest of the host hands a message's content on, and reads what was made of it there."""
    looks = []
    for name, tree in modules().items():
        if part_of(name) in {"kernel", "session"} and not name.startswith(UNTRUSTED):
            inner = (node.value for node in ast.walk(tree) if isinstance(node, ast.Attribute | ast.Subscript))
            looks += [
                f"{name}:{one.lineno}" for one in inner if isinstance(one, ast.Attribute) and one.attr == "content"
            ]
    assert looks == []


def test_each_module_is_read_at_one_sitting() -> None:
    """At most 300 lines, or fewer of some, and no function of more than 50."""
    long = []
    for name in sorted(names()):
        lines = (PACKAGE / name).read_text(encoding="utf-8").count("\n")
        most = LINES_OF.get(name, LINES_OF_MODULE)
        long += [f"{name} has {lines} lines of {most}"] if lines > most else []
        for function in functions(modules()[name]):
            size = (function.end_lineno or 0) - function.lineno + 1
            long += [f"{name}: {function.name} has {size} lines"] if size > LINES_OF_FUNCTION else []
    assert long == []


def test_most_functions_are_seen_at_a_glance() -> None:
    """The median is what a reader meets."""
    sizes = [
        (function.end_lineno or 0) - function.lineno + 1 for tree in modules().values() for function in functions(tree)
    ]
    assert statistics.median(sizes) <= MEDIAN_LINES_OF_FUNCTION


def test_exceptions_end_only_at_the_named_edges() -> None:
    """An `except Exception` or wider elsewhere must raise again, or it would swallow what nobody thought of."""
    swallowed = []
    for name, tree in modules().items():
        for node in ast.walk(tree):
            if isinstance(node, ast.ExceptHandler) and is_broad(node) and name not in BROAD_EDGES:
                raises = any(isinstance(inner, ast.Raise) for inner in ast.walk(node))
                if not raises and name not in LAST_WORDS:
                    swallowed.append(f"{name}:{node.lineno}")
    assert swallowed == []


def test_no_exception_from_a_rule_is_left_that_nothing_needs() -> None:
    """It would let in later what nobody thought of."""
    foreign = {part: set[str]() for part in THIRD_PARTY}
    broad = set[str]()
    for name, tree in modules().items():
        foreign.setdefault(part_of(name), set()).update(module.partition(".")[0] for module in imports(tree))
        handlers = (node for node in ast.walk(tree) if isinstance(node, ast.ExceptHandler) and is_broad(node))
        if any(not any(isinstance(inner, ast.Raise) for inner in ast.walk(handler)) for handler in handlers):
            broad.add(name)
    assert {part: unused for part, known in THIRD_PARTY.items() if (unused := known - foreign[part])} == {}
    assert (BROAD_EDGES | LAST_WORDS) - broad == set()
    assert SHARED_BY_A_DIRECTORY.keys() - modules().keys() == set()


def is_broad(handler: ast.ExceptHandler) -> bool:
    kinds = handler.type.elts if isinstance(handler.type, ast.Tuple) else [handler.type]
    return any(kind is None or ast.unparse(kind) in ("Exception", "BaseException") for kind in kinds)


def test_what_awaits_in_a_clean_up_is_shielded() -> None:
    """A cancelled call is cancelled again at every await: in an `except` or a `finally` only `shielded` is awaited."""
    bare = []
    for name, tree in modules().items():
        if part_of(name) == "in_kernel":
            continue
        for node in ast.walk(tree):
            if isinstance(node, ast.Try | ast.TryStar):
                clean_ups = [*node.finalbody, *(line for handler in node.handlers for line in handler.body)]
                bare += [f"{name}:{line}" for part in clean_ups for line in bare_awaits(part)]
    assert bare == []


def bare_awaits(node: ast.AST) -> Iterator[int]:
    """Lines on which something other than `shielded(...)` is awaited, functions defined within left out."""
    if isinstance(node, ast.AsyncFunctionDef | ast.FunctionDef | ast.Lambda):
        return
    if isinstance(node, ast.AsyncWith | ast.AsyncFor) or (isinstance(node, ast.comprehension) and node.is_async):
        yield getattr(node, "lineno", 0)
    elif isinstance(node, ast.Await) and ast.unparse(node.value).partition("(")[0] != "shielded":
        yield node.lineno
    for inner in ast.iter_child_nodes(node):
        yield from bare_awaits(inner)


def test_what_is_a_client_s_is_not_read_from_this_process() -> None:
    """Its environment, its directories: a server may have clients with others. Commands are their own client."""
    words = ("os.environ", "os.getenv", "os.getcwd", "expanduser", "Path.cwd", "Path.home")
    found = {
        name
        for name, tree in modules().items()
        if not name.startswith(("in_kernel/", "commands/"))
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and ast.unparse(node).endswith(words)
    }
    assert found == set(READS_ITS_PROCESS)


def test_names_say_what_a_thing_is() -> None:
    """No module or class is a drawer for whatever has no place; names that Jupyter gives do not count."""
    names = [name for name in modules() if UNWANTED_WORDS.search(name)]
    for name, tree in modules().items():
        classes = [node.name for node in ast.walk(tree) if isinstance(node, ast.ClassDef)]
        names += [f"{name}: {cls}" for cls in classes if UNWANTED_WORDS.search(cls)]
    assert names == []


def test_packages_import_nothing_of_themselves() -> None:
    """The kernel process imports the package too: its `__init__` holds the version, the others a docstring at most."""
    inner = {name: tree for name, tree in modules().items() if name.endswith("/__init__.py")}
    assert [name for name, tree in inner.items() if len(tree.body) > (ast.get_docstring(tree) is not None)] == []
    assert list(imports(modules()["__init__.py"])) == []


def test_tests_wait_for_events_and_never_sleep() -> None:
    """A sleep is a guess about another machine's speed. `sleep(0)` lets others run; a poll's pause is not a wait."""
    sleeps = []
    for path in sorted((ROOT / "tests").rglob("*.py")):
        if PAYLOADS & set(path.relative_to(ROOT).parts):
            continue
        name = path.relative_to(ROOT).as_posix()
        calls = (node for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))) if isinstance(node, ast.Call))
        for call in calls:
            is_sleep = ast.unparse(call.func).rpartition(".")[2] == "sleep"
            if is_sleep and [ast.unparse(argument) for argument in call.args] not in (["0"], [POLLS.get(name)]):
                sleeps.append(f"{name}:{call.lineno}")
    assert sleeps == []


def test_no_file_names_a_place_that_only_one_machine_has() -> None:
    """Paths of a home or work directory, and hosts of package mirrors, are for nobody else. Attacks may try them."""
    place = re.compile(r"(?<![\w.])/(?:root|work|home/\w+|Users/\w+)/|//[\w.-]*(?:pypi|npmjs|registry)[\w.-]*")
    assert [name for name, text in own_files() if place.search(text) and not PAYLOADS & set(name.split("/"))] == []


def own_files() -> Iterator[tuple[str, str]]:
    """Name and text of every file of the checkout, less what is made or brought, which is hidden or ignored."""
    tops = [
        top for top in ROOT.iterdir() if top.name == ".ci" or (top.name[0] != "." and top.name not in ("build", "dist"))
    ]
    for path in [*ROOT.glob("*.*"), *(path for top in tops for path in top.rglob("*"))]:
        if path.is_file() and path.suffix != ".pyc" and path.name != ".git":  # a file, in a work tree of its own
            yield str(path.relative_to(ROOT)), path.read_text(encoding="utf-8", errors="replace")
