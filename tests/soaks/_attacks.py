"""The attacks of section 5 of issue 9's faults, each with what would be its harm, by row.

Is: what an adversary (a kernel's code, a client's line, a file that changes) does, and how the harm is told from what
is right, by what a client and the machine see. Is not: the servers (`_sides.py`) or the table (`controls.py`).
"""

from __future__ import annotations

import contextlib
import dataclasses
import fcntl
import json
import os
import signal
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final

import pexpect
import zmq

from bench.bars.aftermath import BANNER, NUMBER, OUTCOMES, RACE, VALUES, changing_path
from bench.bars.attacks import ATTACKS as ENDLESS
from bench.bars.attacks import UNREAD
from bench.bars.costly import LINES as COSTLY_LINES
from bench.bars.costly import PRINTED, REPLIES, SHOWN, UNITS
from tests.escape.kernels.kernel_server import FORGE
from tests.soaks._sides import PATIENCE_S, Seen, Side

TIERS: Final = ("ns", "lock")
MB: Final = 1 << 20
KEEPS_HANDLERS: Final = """try:
    from rlm_kernel_mcp.in_kernel.ipython.process_state import ProcessState
    ProcessState.put_back = lambda self: None
except ImportError:
    pass
"""
KEPT: Final = """from rlm_kernel_mcp.in_kernel.ipython.process_state import ProcessState
ProcessState.put_back = lambda self: None  # handlers and hooks stay as this step leaves them
"""
assert KEPT in FORGE
SPEAK: Final = FORGE.replace(KEPT, KEEPS_HANDLERS)
"""As `FORGE`, also where nothing is put back."""
LINES: Final = {
    '{"id":01}': b'{"id":01}',
    "a number with a point and no digit": b'{"jsonrpc":"2.0","id":1.,"method":"ping"}',
    "half a line": b'{"jsonrpc":"2.0","id":2,"method":"pi',
    "a name that is not a text": b'{1:2,"id":03}',
}
FLUSHED: Final = 20_000
EXPECTED: Final = "".join(f"{i}\n" for i in range(FLUSHED)) + "END\n"
PRINTS: Final = f"for i in range({FLUSHED}): print(i, flush=True)\nprint('END')\n'the ' + 'result'"
STOP_S: Final = 2.5
THREADS: Final = 128
STACKS: Final = """
import _thread, time
_thread.stack_size(32 << 10)
gate = _thread.allocate_lock()
gate.acquire()
made = 0
try:
    while made < 3_000:
        _thread.start_new_thread(gate.acquire, ())
        made += 1
except RuntimeError:
    pass
time.sleep(1.5)
made
"""
CLONES: Final = """
import ctypes, platform, time
libc = ctypes.CDLL(None, use_errno=True)
libc.clone.restype = ctypes.c_int
pause = ctypes.cast(libc.pause, ctypes.c_void_p)
number = {"x86_64": 34}.get(platform.machine(), 0)
libc.clone.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int] + [ctypes.c_void_p] * 4
stacks = ctypes.create_string_buffer(512 * 3_002)
local = ctypes.create_string_buffer(64 << 10)
base, storage = ctypes.addressof(stacks), ctypes.addressof(local) + (16 << 10)
for offset in (0, 16):
    ctypes.c_void_p.from_address(storage + offset).value = storage
made = 0
flags = 0x3D0F00
while made < 3_000 and libc.clone(pause, base + 512 * (made + 1), flags, None, number, storage, number) > 0:
    made += 1
time.sleep(1.5)
made
"""
WAYS: Final = {"clone with stacks of 512 bytes": CLONES, "Python threads with stacks of 32 KB": STACKS}


@dataclass(frozen=True, slots=True)
class Attack:
    """One attack: `play` says whether the harm came."""

    row: int
    what: str
    test: str
    """Where this attack, or its kind, stands in the suite."""
    control: str
    """Where the suite shows that the harm would be seen."""
    bar: str
    """A neighbour's read meanwhile, in `bench/`, and what the attack leaves."""
    play: Callable[[Side], Seen]
    tiers: tuple[str, ...] = TIERS

    def only(self, tiers: list[str] | None) -> Attack:
        return dataclasses.replace(self, tiers=tuple(tier for tier in self.tiers if tiers is None or tier in tiers))


def a_line(side: Side, line: bytes) -> Seen:
    """Harm: a request behind it is not answered, or the server outlives the end of its input."""
    with side.server() as server:
        server.read()
        server.client.wait_s = 5.0
        server.client.send_line(line)
        try:
            server.read_for(0.3)
            deaf = False
        except AssertionError:
            deaf = True
        server.client.stdin.close()
        try:
            ended = server.client.process.wait(5.0) == 0
        except subprocess.TimeoutExpired:
            ended = False
        text = f"{'nothing behind it is answered' if deaf else 'answered'}; "
        text += "ends with its input" if ended else "5 s after the end of its input it lives"
        return server.seen(text, harm=deaf or not ended)


def a_pause(side: Side, neighbour_floods: bool) -> Seen:
    """Harm: output or the result is missing, and nothing says so."""
    with side.server() as server:
        session = server.open()
        if neighbour_floods:
            flooding = server.open()
            server.step(flooding, ENDLESS["prints without end"], timeout_ms=60_000)
            server.read_for(0.3)
        request = server.step(session, PRINTS, max_output_chars=200_000)
        signal.sigtimedwait([], 0.25)
        server.process.send_signal(signal.SIGSTOP)
        signal.sigtimedwait([], STOP_S)
        server.process.send_signal(signal.SIGCONT)
        server.read()
        server.forget_waits()  # the first waited for the server to go on
        server.read_until(request, 60.0)
        data = server.data(request)
        whole = data["stdout"] == EXPECTED and data["result"] == "'the result'"
        told = "dropped" in data["stdout"]
        text = f"{len(data['stdout']):,} of {len(EXPECTED):,} characters, {data['status']}, result {data['result']}"
        return server.seen(text + (", told" if told else ""), harm=not whole and not told)


def many_flushes(side: Side) -> Seen:
    """Harm: characters are missing, or the kernel grows with them."""
    with side.server() as server:
        session, count = server.open(), 60_000
        server.run(session, "1")
        before = server.largest_kernel_bytes()
        code = f"for i in range({count}): print('x', end='', flush=True)"
        request = server.step(session, code, timeout_ms=120_000, max_output_chars=100)
        most = before
        while not server.answered(request):
            server.read()
            most = max(most, server.largest_kernel_bytes())
        data = server.end_of(session, request)
        kept = data["truncated"]["stdout"] + 100
        text = f"{kept:,} of {count:,} characters, {data['status']}; the kernel grew by {(most - before) / MB:.1f} MB"
        return server.seen(text, harm=kept < count or most - before > 40 * MB)


def a_deaf_console(side: Side) -> Seen:
    """Harm: the agent's output is not whole, or its kernel grows."""
    with side.server() as server, zmq.Context() as context, context.socket(zmq.SUB) as console:
        session, count = server.open(), 60_000
        server.run(session, "1")
        connection = json.loads(server.connection_file(session).read_text(encoding="utf-8"))
        console.setsockopt(zmq.RCVHWM, 1)
        console.setsockopt(zmq.LINGER, 0)
        console.subscribe(b"")
        console.connect(f"ipc://{connection['ip']}-{connection['iopub_port']}")
        console.poll(1_000)
        before, most = server.largest_kernel_bytes(), 0
        code = f"for i in range({count}): print(i, flush=True)"
        request = server.step(session, code, timeout_ms=120_000, max_output_chars=100)
        while not server.answered(request):
            server.read()
            most = max(most, server.largest_kernel_bytes() - before)
        data = server.end_of(session, request)
        kept, expected = data["truncated"]["stdout"] + 100, sum(len(f"{i}\n") for i in range(count))
        text = f"{kept:,} of {expected:,} characters in {data['duration_ms'] / 1000:.1f} s; "
        text += f"the kernel grew by {most / MB:.0f} MB"
        return server.seen(text, harm=kept < expected - 200 or most > 40 * MB)


HOLDS_BACK: Final = (
    SPEAK
    + """
signal.signal(signal.SIGUSR2, signal.SIG_IGN)
about = {"header": {"msg_id": "c1", "session": "a console", "msg_type": "execute_request", "username": "u"}}
say(kernel.iopub_socket, "execute_input", {"code": "1", "execution_count": 1}, parent=about)
kernel._send_snapshot = kernel._send_kept = lambda *given: None  # the second on an older tree
threading.Thread(target=spin, daemon=True).start()
"""
)
"""The values do not come, and each step is answered all the same, while a thread works."""
CLAIMS: Final = SPEAK + "signal.signal(signal.SIGUSR2, signal.SIG_IGN)\nclaim_reply(); claim_idle(); mute(); spin()"


def values_held_back(side: Side) -> Seen:
    """Harm: the kernel works on past its runtime of 1.5 s, or a call is not answered."""
    with side.server({"interrupt_grace_ms": 200}) as server:
        session = server.open(max_runtime_ms=1_500)
        server.run(session, HOLDS_BACK, timeout_ms=5_000)
        server.run(session, "1", timeout_ms=5_000)
        status = server.status_after_work(session)
        calls = {
            "get_var": server.call("rlm_get_var", session_id=session, var_name="context"),
            "interrupt": server.call("rlm_interrupt", session_id=session),
            "finalize": server.call("rlm_finalize", session_id=session, final_text="done"),
        }
        for request in calls.values():
            server.read_until(request, PATIENCE_S / len(calls))
        silent = [name for name, request in calls.items() if not server.answered(request)]
        text = f"no answer in {PATIENCE_S:.0f} s: {', '.join(silent)}" if silent else "each call is answered"
        text += f"; past its runtime, by work behind what it holds back, it is {status}"
        return server.seen(text, harm=bool(silent) or "worked" in status)


def no_watch(side: Side) -> Seen:
    """Harm: with the idle stop of the first the watch of another session stops: it works on past its 1.5 s."""
    with side.server({"interrupt_grace_ms": 200}, RLM_IDLE_TIMEOUT_S="4") as server:
        first, second = server.open(max_runtime_ms=1_500), server.open(max_runtime_ms=1_500)
        server.run(first, HOLDS_BACK, timeout_ms=5_000)
        server.run(first, "1", timeout_ms=5_000)
        server.read_for(5.5)
        server.run(second, CLAIMS, timeout_ms=5_000)
        status = server.status_after_work(second)
        text = f"another session, past its runtime of 1.5 s, is {status}"
        return server.seen(text, harm="worked" in status)


def a_costly_reply(side: Side, which: str, unit: str) -> Seen:
    """Harm: a neighbour's read takes more than 100 ms of the server's own."""
    with side.server() as server:
        session = server.open()
        code = f"print('{unit}' * (190_000 // len('{unit}')))"
        run = {"session_id": session, "code": code, "max_output_chars": SHOWN}
        if which.startswith("a page"):
            long = f"print('{unit}' * ({PRINTED} // len('{unit}')))"
            index = server.run(session, long, max_output_chars=100)["step_index"]
            page = {"from_step": index, "to_step": index, "detail": "full", "max_output_chars": SHOWN}
            offset = {"offset": 3_000_000} if "far" in which else {}
            call: tuple[str, dict[str, Any]] = ("rlm_get_trace", {"session_id": session, **page, **offset})
        else:
            call = ("rlm_run_repl", run | ({"response_format": "markdown"} if "markdown" in which else {}))
        server.forget_waits()
        request = server.call(call[0], **call[1])
        server.client.wait_s = 60.0
        server.read_until(request, 60.0)
        return server.seen("answered", harm=max(server.own_ms) > 100)


def a_costly_line(side: Side, line: bytes) -> Seen:
    """Harm: a neighbour's read takes more than 100 ms of the server's own."""
    with side.server() as server:
        server.client.wait_s = 60.0
        server.client.send_line(line)
        server.read_for(0.5)
        return server.seen("answered", harm=max(server.own_ms) > 100)


def values_that_do_not_come_back(side: Side) -> Seen:
    """Harm: the next step takes longer than one bound over all of them, or what they use is not charged."""
    values = """
import os, time
def comes_back(n):
    import signal
    for number in (2, 10, 12, 24): signal.signal(number, signal.SIG_IGN)
    end = time.process_time() + 9
    while time.process_time() < end:
        try:
            while time.process_time() < end: pass
        except BaseException: pass
    os._exit(1)
class Trap:
    def __init__(self, n): self.n = n
    def __reduce__(self): return comes_back, (self.n,)
"""
    with side.server() as server:
        session = server.open()
        server.run(session, values)
        for number in range(8):
            server.run(session, f"t{number} = Trap({number})")
        server.read_for(1.0)
        server.run(session, "import os\nos._exit(1)")
        began = time.monotonic()
        request = server.step(session, "1 + 1", timeout_ms=5_000)
        server.read_for(3.0)
        interrupt = server.call("rlm_interrupt", session_id=session)
        heard = server.read_until(interrupt, 10.0)
        within = server.read_until(request, 60.0)
        took = time.monotonic() - began
        index = server.call("rlm_get_trace", session_id=session)
        charged = [event for event in server.data(index)["events"] if event["result_status"] == "charged"]
        text = f"interrupt {'answered' if heard else 'not answered in 10 s'}; the step's answer after {took:.0f} s"
        text += "" if within else " not there"
        return server.seen(f"{text}; charged: {len(charged)} event(s)", harm=not heard or not within or not charged)


def threads(side: Side, code: str, *, nobody: bool = False) -> Seen:
    """Harm: many more of them than the policy's number, or more that live on."""
    with (side.as_nobody() if nobody else side).server() as server:
        session = server.open()
        request = server.step(session, code, timeout_ms=20_000)
        counts = [0]
        while not server.answered(request):
            server.read()
            counts.append(server.most_threads())
        data = server.data(request)
        lives_on = data["status"] == "ok" and sum(count > THREADS for count in counts) > 3
        text = f"{max(counts):,} threads at most, of a policy of {THREADS}; the step ends {data['status']}"
        return server.seen(text, harm=max(counts) > 3 * THREADS or lives_on)


def processor_time(side: Side, lift: str) -> Seen:
    """Harm: the step works for more than its limit of 1 s, two more in which it is told, and the ladder."""
    with side.server({"limits": {"step_cpu_s": 1}, "interrupt_grace_ms": 200}) as server:
        session = server.open()
        code = f"import resource, signal\ntry:\n    {lift}\nexcept Exception: pass\nwhile True: pass"
        request, used = server.step(session, code, timeout_ms=60_000), 0.0
        while not server.answered(request) and used < 5:
            server.read()
            used = max(used, server.most_processor_s())
        if not server.answered(request):
            return server.seen("after 5 s of processor time at a limit of 1 s it works on", harm=True)
        data = server.data(request)
        return server.seen(f"{data['status']} after {used:.1f} s of processor time at a limit of 1 s", harm=False)


def a_banner(side: Side) -> Seen:
    """Harm: the terminal of who attaches gets the sequence."""
    with side.server() as server:
        session = server.open()
        server.run(session, "type(get_ipython().kernel).banner = '\\x1b]0;evil\\x07'\n1")
        env = {**server.client.env, "TERM": "dumb", "NO_COLOR": "1", "PROMPT_TOOLKIT_NO_CPR": "1"}
        argv = side.module()
        console = pexpect.spawn(
            argv[0], [*argv[1:], "attach", session], env=env, encoding="utf-8", timeout=30, dimensions=(50, 200)
        )
        try:
            while console.expect([r"In \[.*?\d+.*?\]: ", pexpect.TIMEOUT], timeout=0.2) and console.isalive():
                server.read()
            acts = "\x1b]0;evil" in str(console.before)
        finally:
            console.close(force=True)
        return server.seen("the title is set" if acts else "shown as text", harm=acts)


LOOKS: Final = """
import ctypes, os, time
said = []
for name, ask in {
    "readlink": lambda: os.readlink(@LINK@),
    "getpgid": lambda: os.getpgid(@PID@),
    "getsid": lambda: os.getsid(@PID@),
    "sched_getaffinity": lambda: os.sched_getaffinity(@PID@),
    "clock_gettime": lambda: time.clock_gettime(~@PID@ << 3 | 2),
}.items():
    try:
        ask()
        said.append(name)
    except OSError:
        pass
' '.join(said)
"""


def looks_at_others(side: Side) -> Seen:
    """Harm: another process is known by it; `readlink` alone is said in SECURITY.md."""
    with side.server() as server:
        link = server.client.directory / "link"
        link.symlink_to("where it leads")
        server.client.directory.chmod(0o755)
        code = LOOKS.replace("@LINK@", repr(str(link))).replace("@PID@", str(os.getpid()))
        answered = str(server.run(server.open(), code)["result"]).strip("'").split()
        text = f"answered: {', '.join(answered) or 'none'}"
        return server.seen(text, harm=bool({*answered} - {"readlink"}))


def a_lock(side: Side, kind: str) -> Seen:
    """Harm: a program of the host's cannot lock a file that is shared."""
    with side.server() as server:
        session = server.open()
        code = (
            f"import fcntl, os\nheld = open(os.__file__)\nfcntl.flock(held, fcntl.{kind} | fcntl.LOCK_NB)\nos.__file__"
        )
        data = server.run(session, code)
        kept_out = False
        if data["status"] == "ok":
            with Path(str(data["result"]).strip("'")).open("rb") as file:
                try:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    kept_out = True
        text = "the host's own lock has to wait" if kept_out else f"refused: {(data['error'] or {}).get('evalue')}"
        return server.seen(text, harm=kept_out)


def tiny_items(side: Side, items: int) -> Seen:
    """Harm: a neighbour's read takes more than 100 ms of the server's own, or the host works for more than 10 s."""
    with side.server() as server:
        session = server.open()
        server.run(session, "1")
        server.forget_waits()
        before = sum(server.process.cpu_times()[:2])
        code = SPEAK + f"for _ in range(60): forge('stream', {{'name': 'stdout', 'text': [[]] * {items}}})"
        request = server.step(session, code, timeout_ms=60_000)
        server.client.wait_s = 60.0
        server.read_until(request, 60.0)
        used = sum(server.process.cpu_times()[:2]) - before
        data = server.data(request)
        text = f"{used:.1f} s of the host's time; the step ends {data['status']}"
        return server.seen(text, harm=max(server.own_ms) > 100 or used > 10)


def outcomes(side: Side) -> Seen:
    """Harm: the server keeps what the last step of each session said."""
    said = "😀"
    code = f"import sys\nt = '{said}' * 3_900_000\nprint(t)\nprint(t, file=sys.stderr)\nt"
    with side.server(RLM_MAX_SESSIONS="16") as server:
        sessions = [server.open() for _ in range(10)]
        server.run(sessions[0], code, max_output_chars=100)
        before = server.process.memory_info().rss
        for session in sessions[1:]:
            server.run(session, code, max_output_chars=100)
        grown = (server.process.memory_info().rss - before) / MB
        return server.seen(f"the server grew by {grown:,.0f} MB over 9 sessions' steps", harm=grown > 100)


KEPT_S: Final = 6.0
"""A value of 100 MB is kept within that; the next step would end it."""


def snapshots(side: Side) -> Seen:
    """Harm: a session's values take more than 512 MB of disk a minute later."""
    with side.server({"limits": {"memory_mb": 2048}}) as server:
        session, state = server.open(), Path(server.client.env["RLM_STATE_DIR"])
        for number in range(9):
            before, ends = size_of(state), time.monotonic() + KEPT_S
            server.run(session, f"import os\nb{number} = os.urandom(100 << 20)", timeout_ms=60_000)
            while size_of(state) < before + 90 * MB and time.monotonic() < ends:
                server.read_for(0.2)
        ends = time.monotonic() + 75
        while (size := size_of(state)) > 512 * MB and time.monotonic() < ends:
            server.read_for(1.0)
        return server.seen(f"{size / MB:,.0f} MB of disk for 900 MB of values", harm=size > 560 * MB)


def size_of(directory: Path) -> int:
    total = 0
    for path in directory.rglob("*"):
        with contextlib.suppress(OSError):
            total += path.stat().st_blocks * 512
    return total


def a_forged_number(side: Side) -> Seen:
    """Harm: `INTERNAL_ERROR`."""
    code = (
        "try:\n"
        "    import rlm_kernel_mcp.in_kernel.ipython.control as control\n"
        "    import rlm_kernel_mcp.in_kernel.display_text.values as values\n"
        "except ImportError:  # an older tree\n"
        "    import rlm_kernel_mcp.in_kernel.control as control, rlm_kernel_mcp.in_kernel.values as values\n"
        "control.view = lambda *given, **more: values.View('float', None, True, 5, b'1e999')\nx = 1.5"
    )
    with side.server() as server:
        session = server.open()
        server.run(session, code)
        body = server.body(server.call("rlm_get_var", session_id=session, var_name="x"))
        server.read()
        code_of = body["error"]["code"] if not body["ok"] else f"the value {body['data']['value']!r}"
        return server.seen(code_of, harm=code_of == "INTERNAL_ERROR")


def a_race_of_links(side: Side) -> Seen:
    """Harm: `INTERNAL_ERROR`."""
    with side.server() as server:
        codes: dict[str, int] = {}
        with changing_path(server.client.directory / "race"):
            for number in range(600):
                given = ["race/text", "race", "race/*"][number % 3]
                body = server.body(server.call("rlm_init_context", context_paths=[given]))
                code = "opened" if body["ok"] else str(body["error"]["code"])
                codes[code] = codes.get(code, 0) + 1
                if body["ok"]:
                    server.body(server.call("rlm_finalize", session_id=body["data"]["session_id"], final_text="x"))
                if number % 20 == 0:
                    server.read()
        return server.seen(json.dumps(dict(sorted(codes.items()))), harm="INTERNAL_ERROR" in codes)


AUDIENCE: Final = "tests/unit/in_kernel/channels/test_audience.py::"
LOST_OUTPUT: Final = "tests/kernel/steps/test_lost_output.py::"
UNPREPARED: Final = f"{AUDIENCE}test_without_a_prepared_socket_most_of_it_would_be_lost"
HELD: Final = "tests/escape/kernels/test_held_words.py::"
SNAPSHOTS: Final = "tests/kernel/snapshots/test_hostile_snapshots.py::"
CUTTING: Final = "tests/unit/text/test_safe_text.py::"
FRAMES: Final = "tests/unit/server/transport/test_frames.py::"
THREADS_HOLD: Final = "tests/escape/walls/test_limits_hold.py::"
OUTSIDE: Final = "tests/escape/kernels/test_limits_from_outside.py::"
CONSOLE: Final = "tests/attach/test_during_a_step.py::"
WALLS: Final = "tests/escape/walls/test_walls_hold.py::"
MESSAGES: Final = "tests/unit/kernel/untrusted/test_messages.py::"
COLLECTIONS: Final = "tests/unit/server/test_collections.py::test_no_collection_goes_through_what_a_server_begins_with"
KEPT_OUTCOMES: Final = "tests/unit/session/steps/test_outcomes.py::"
KEPT_VALUES: Final = "tests/unit/session/snapshots/test_file.py::"
PATHS: Final = "tests/unit/context/test_sources.py::"
FLUSHED_BAR: Final = "prints without end and flushes each word"
LOOKS_BAR: Final = "looks at other processes and tries to lock files that it shares with them"
THREADS_BARS: Final = {
    "clone with stacks of 512 bytes": "starts threads by `clone` with stacks of 512 bytes, without end",
    "Python threads with stacks of 32 KB": "starts threads with stacks of 32 KB, without end",
}
LIFTS: Final = {
    "SIGXCPU ignored": "signal.signal(signal.SIGXCPU, signal.SIG_IGN)",
    "RLIMIT_CPU lifted": "resource.setrlimit(resource.RLIMIT_CPU, (-1, -1))",
    "RLIMIT_CPU lifted, and SIGXCPU ignored": (
        "signal.signal(signal.SIGXCPU, signal.SIG_IGN); resource.setrlimit(resource.RLIMIT_CPU, (-1, -1))"
    ),
}
LIFT_TESTS: Final = (
    "test_a_step_that_ignores_the_signal_of_its_processor_time_is_stopped_by_the_ladder",
    "test_no_limit_that_the_system_holds_can_be_lifted",
)
LIFT_CONTROLS: Final = (
    "test_without_the_count_a_step_that_ignores_the_signal_would_be_seen_to_work_on",
    "test_a_limit_that_the_kernel_could_lift_would_be_seen_not_to_hold",
)
ATTACKS: Final = [
    *(
        Attack(
            1,
            f"a line on stdin: {name}",
            "tests/mcp/wire/test_wire.py::test_after_any_line_the_next_is_answered_and_the_end_ends",
            "tests/mcp/wire/test_frames_soak.py::test_the_account_sees_what_is_wrong",
            "a line of 32 KB of quotes",
            partial(a_line, line=line),
        )
        for name, line in LINES.items()
    ),
    Attack(
        2,
        "20,000 flushed lines, the host stopped for 2.5 s",
        f"{LOST_OUTPUT}test_a_host_that_pauses_loses_nothing",
        UNPREPARED,
        FLUSHED_BAR,
        partial(a_pause, neighbour_floods=False),
    ),
    Attack(
        2,
        "the same, and a neighbour floods",
        f"{AUDIENCE}test_a_host_that_reads_late_gets_all_of_it_in_its_order",
        UNPREPARED,
        "prints without end",
        partial(a_pause, neighbour_floods=True),
    ),
    Attack(
        2,
        "60,000 flushes of one character",
        f"{LOST_OUTPUT}test_very_many_flushes_are_few_messages_and_nothing_is_lost",
        UNPREPARED,
        FLUSHED_BAR,
        many_flushes,
    ),
    Attack(
        3,
        "a console that does not read, 60,000 lines",
        f"{LOST_OUTPUT}test_a_listener_that_does_not_read_takes_nothing_from_the_step",
        f"{AUDIENCE}test_without_a_place_of_its_own_a_client_that_does_not_read_would_hold_up_the_host",
        UNREAD,
        a_deaf_console,
    ),
    Attack(
        4,
        "a forged console's cell, the values held back: the session's calls",
        f"{HELD}test_every_call_is_answered_while_a_kernel_holds_its_values_back",
        f"{SNAPSHOTS}test_without_a_bound_a_step_waits_for_values_that_are_held_back",
        "holds its values back from every snapshot",
        values_held_back,
    ),
    Attack(
        4,
        "the same: the watch of another session",
        f"{HELD}test_it_is_no_cover_for_work_and_no_other_session_is_watched_less_for_it",
        f"{SNAPSHOTS}test_without_a_bound_a_step_waits_for_values_that_are_held_back",
        "holds its values back from every snapshot",
        no_watch,
    ),
    *(
        Attack(
            5,
            f"{which} full of {name}",
            f"{CUTTING}test_a_cut_looks_at_no_more_than_it_shows",
            f"{CUTTING}test_a_text_made_safe_before_it_is_cut_would_be_seen",
            f"{which} full of {name}",
            partial(a_costly_reply, which=which, unit=unit),
        )
        for name, unit in UNITS.items()
        for which in REPLIES
    ),
    *(
        Attack(
            5,
            name,
            f"{FRAMES}test_the_cost_of_a_line_grows_no_faster_than_its_length",
            f"{FRAMES}test_a_reader_whose_cost_grows_by_squares_would_be_seen",
            name,
            partial(a_costly_line, line=line),
        )
        for name, line in COSTLY_LINES.items()
    ),
    Attack(
        6,
        "8 values that ignore signals for 9 s each and then end their kernel",
        f"{SNAPSHOTS}test_values_that_end_each_kernel_have_one_bound_of_time_and_are_charged",
        f"{SNAPSHOTS}test_without_their_bound_values_that_do_not_come_back_keep_a_step_waiting",
        "keeps values that never come back from their snapshot",
        values_that_do_not_come_back,
    ),
    *(
        Attack(
            7,
            f"{way}, the server {user}'s",
            f"{THREADS_HOLD}test_threads_are_counted_where_memory_would_allow_more",
            f"{THREADS_HOLD}test_the_attack_on_the_number_of_threads_would_be_seen",
            THREADS_BARS[way],
            partial(threads, code=code, nobody=user == "nobody"),
        )
        for way, code in WAYS.items()
        for user in (["root", "nobody"] if os.geteuid() == 0 else ["this user"])
    ),
    *(
        Attack(
            8,
            name,
            f"{OUTSIDE}{LIFT_TESTS['setrlimit' in lift]}",
            f"{OUTSIDE}{LIFT_CONTROLS['setrlimit' in lift]}",
            "works on, ignores SIGXCPU and tries to lift its limit of processor time",
            partial(processor_time, lift=lift),
        )
        for name, lift in LIFTS.items()
    ),
    Attack(
        9,
        "a banner that acts on a terminal",
        f"{CONSOLE}test_a_banner_acts_on_nobody_s_terminal",
        f"{CONSOLE}test_a_banner_that_acts_would_be_seen",
        BANNER,
        a_banner,
    ),
    Attack(
        10,
        "looks at another process, and at where a link leads",
        f"{WALLS}test_the_attack_is_refused",
        f"{WALLS}test_without_walls_the_attacks_reach_the_canaries",
        LOOKS_BAR,
        looks_at_others,
    ),
    *(
        Attack(
            11,
            f"flock({kind}) on a shared file",
            f"{WALLS}test_the_attack_is_refused",
            f"{WALLS}test_without_walls_the_attacks_reach_the_canaries",
            LOOKS_BAR,
            partial(a_lock, kind=kind),
        )
        for kind in ("LOCK_EX", "LOCK_SH")
    ),
    Attack(
        12,
        "60 messages of 330,000 tiny items",
        f"{MESSAGES}test_small_items_are_counted_however_small_their_text",
        f"{MESSAGES}test_without_the_limit_of_items_the_parsing_would_pass_these_bounds",
        "sends the host messages of many small items",
        partial(tiny_items, items=330_000),
    ),
    Attack(
        12,
        "60 messages of 45,000 tiny items",
        COLLECTIONS,
        COLLECTIONS,
        "sends the host messages of many small items",
        partial(tiny_items, items=45_000),
    ),
    Attack(
        13,
        "10 sessions' last outcomes of 12 M characters",
        f"{KEPT_OUTCOMES}test_the_oldest_outcomes_give_way_whoever_s_they_are",
        f"{KEPT_OUTCOMES}test_without_the_bound_all_of_it_would_stay",
        OUTCOMES,
        outcomes,
    ),
    Attack(
        13,
        "900 MB of values of one session",
        f"{KEPT_VALUES}test_a_session_s_values_take_no_more_disk_than_their_bound_and_more_would_be_seen",
        f"{KEPT_VALUES}test_a_session_s_values_take_no_more_disk_than_their_bound_and_more_would_be_seen",
        VALUES,
        snapshots,
    ),
    Attack(
        14,
        "a forged 1e999",
        "tests/escape/host/test_hostile_peer.py::test_whatever_is_answered_for_a_variable_is_bounded_and_safe",
        "tests/unit/kernel/untrusted/test_values.py::test_a_number_beyond_all_would_be_seen_without_its_guard",
        NUMBER,
        a_forged_number,
    ),
    Attack(
        14,
        "a path that is a link, a file and a directory in turn",
        f"{PATHS}test_a_link_that_never_holds_still_is_refused_where_it_is_named",
        f"{PATHS}test_that_it_never_holds_still_would_be_seen_without_a_guard",
        RACE,
        a_race_of_links,
    ),
]
"""In the table's order."""
