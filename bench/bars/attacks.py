"""While one session attacks: how long its neighbour waits for an answer."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from bench.measure import Amounts, Bar, Figures, Row, milliseconds
from bench.sides.ours import OurServer, our_server
from tests.mcp.line_client import SERVE

ATTACKS = {
    "takes all the memory that it gets": """
while True:
    try:
        taken = [0]
        while True:
            taken += taken
    except MemoryError:
        pass
""",
    "takes all the memory that it gets, in small objects": """
while True:
    try:
        taken = []
        while True:
            taken.append(object())
    except MemoryError:
        pass
""",
    "starts threads without end": """
import threading
end = threading.Event()
while True:
    try:
        threading.Thread(target=end.wait).start()
    except (RuntimeError, MemoryError):
        pass
""",
    "forks without end": "import ctypes\nlibc = ctypes.CDLL(None)\nwhile True: libc.fork()",
    "opens descriptors without end": """
import os
while True:
    try:
        os.dup(0)
    except OSError:
        pass
""",
    "writes to its disk without end": """
while True:
    try:
        with open("f", "wb", buffering=0) as file:
            while True:
                file.write(bytes(1 << 20))
    except OSError:
        pass
""",
    "prints without end": "while True: print('flood ' * 200)",
    "prints without end and flushes each word": "while True: print('flood', flush=True)",
    "sends the host messages of many small items": """
kernel = get_ipython().kernel
while True:
    kernel.session.send(kernel.iopub_socket, "stream", {"text": [[]] * 45_000}, parent=kernel.get_parent())
""",
    "sends the host pictures without end": """
import base64
picture = base64.b64encode(b"\\x89PNG\\r\\n\\x1a\\n" + bytes(700_000)).decode()
kernel = get_ipython().kernel
while True:
    content = {"data": {"image/png": picture, "text/plain": "p"}, "metadata": {}}
    kernel.session.send(kernel.iopub_socket, "display_data", content, parent=kernel.get_parent())
""",
    "starts threads with stacks of 32 KB, without end": """
import _thread
_thread.stack_size(32 << 10)
gate = _thread.allocate_lock()
gate.acquire()
while True:
    try:
        _thread.start_new_thread(gate.acquire, ())
    except RuntimeError:
        pass
""",
    "starts threads by `clone` with stacks of 512 bytes, without end": """
import ctypes
libc = ctypes.CDLL(None)
libc.clone.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int, *[ctypes.c_void_p] * 4]
stacks, local = ctypes.create_string_buffer(512 * 8_002), ctypes.create_string_buffer(64 << 10)
pause, number = ctypes.cast(libc.pause, ctypes.c_void_p), ctypes.byref(ctypes.c_long())
base, storage = ctypes.addressof(stacks), ctypes.addressof(local) + (16 << 10)
for offset in (0, 16):
    ctypes.c_void_p.from_address(storage + offset).value = storage
made = 0
while True:
    made += libc.clone(pause, base + 512 * (made % 8_000 + 1), 0x3D0F00, None, number, storage, number) > 0
""",
    "works on, ignores SIGXCPU and tries to lift its limit of processor time": """
import resource, signal
signal.signal(signal.SIGXCPU, signal.SIG_IGN)
try:
    resource.setrlimit(resource.RLIMIT_CPU, (-1, -1))
except (OSError, ValueError):
    pass
while True: pass
""",
    "looks at other processes and tries to lock files that it shares with them": """
import fcntl, os, time
shared = open(os.__file__)
def asks():
    yield lambda: fcntl.flock(shared, fcntl.LOCK_EX | fcntl.LOCK_NB)
    yield lambda: os.readlink("/proc/self/exe")
    yield lambda: os.getpgid(1)
    yield lambda: os.getsid(1)
    yield lambda: os.sched_getaffinity(1)
    yield lambda: time.clock_gettime(~1 << 3 | 2)
while True:
    for ask in asks():
        try:
            ask()
        except OSError:
            pass
""",
    "writes to descriptor 1 without end": "import os\nwhile True: os.write(1, bytes(65536))",
    "matches a pattern that backtracks without end": "import re\nre.match('(a+)+$', 'a' * 60 + 'b')",
    "runs C code that never looks at a signal": "import itertools\nmax(itertools.repeat(0))",
}
"""By what the session does; each goes on until it is stopped."""
SPIN = "while True: pass"
HOLDS_BACK = """
import signal
signal.signal(signal.SIGUSR2, signal.SIG_IGN)
def hold(*_):
    while True: pass
kernel = get_ipython().kernel
kernel._send_snapshot = hold
"""
NEVER_BACK = """
class Never:
    def __reduce__(self):
        deaf = "import signal\\nfor number in (2, 10, 12): signal.signal(number, signal.SIG_IGN)\\n"
        return exec, (deaf + "while True: pass",)
v1, v2, v3, v4, v5, v6, v7, v8 = (Never() for _ in range(8))
"""
PREPARED: dict[str, tuple[tuple[str, ...], str]] = {
    "holds its values back from every snapshot": ((HOLDS_BACK,), SPIN),
    "keeps values that never come back from their snapshot": ((NEVER_BACK, "1", "import os\nos._exit(1)"), SPIN),
}
"""Attacks that need some steps first; how those end does not matter."""
UNREAD = "prints without end, and a console on it does not read"
BAR_MS = 100.0


PROGRAM = Path(__file__).parents[2] / "tests" / "escape" / "walls" / "program" / "serve_without_namespaces.py"
WITHOUT_NAMESPACES = (sys.executable, "-I", str(PROGRAM), "serve")


async def attacks(amounts: Amounts) -> list[Row]:
    """The slowest answer during each attack, for `rlm_get_var` and for steps; the medians with attacks and without."""
    return await _under(amounts, SERVE, "")


async def attacks_lock(amounts: Amounts) -> list[Row]:
    """The same on a machine without user namespaces."""
    return await _under(amounts, WITHOUT_NAMESPACES, " (tier `lock`)")


async def _under(amounts: Amounts, argv: Sequence[str], where: str) -> list[Row]:
    times = 1 if amounts.smoke else 100
    codes = dict([*ATTACKS.items()][:2]) if where and amounts.smoke else ATTACKS
    with our_server({"RLM_IMPORT_POLICY": "any"}, argv) as server:
        neighbour = server.open_session()
        server.step(neighbour, "mine = 'kept'")
        calm = await _answers(server, neighbour, times)
        under: dict[str, dict[str, tuple[float, ...]]] = {}
        for what, code in codes.items():
            with _attack(server, code):
                under[what] = await _answers(server, neighbour, times)
        for what, (before, code) in PREPARED.items():
            with _attack(server, code, before):
                under[what] = await _answers(server, neighbour, times)
        with _attack(server, ATTACKS["prints without end and flushes each word"], unread=True):
            under[UNREAD] = await _answers(server, neighbour, times)
    bar = Bar(BAR_MS, of="ours")
    rows = []
    for what, found in under.items():
        name = f"a session waits at most this long for an answer while another one {what}{where}"
        rows.append(Row(name, Figures((max(map(max, found.values())),)), bar=bar))
    for call, without in calm.items():
        samples = tuple(sample for found in under.values() for sample in found[call])
        name = f"{call} of a session is answered while another one attacks, over all these attacks{where}"
        rows.append(Row(name, Figures(samples), "it is answered while none attacks", Figures(without), bar=bar))
    return rows


@contextlib.contextmanager
def _attack(server: OurServer, code: str, before: Sequence[str] = (), *, unread: bool = False) -> Iterator[None]:
    attacker = server.open_session()
    for prepared in before:
        server.step(attacker, prepared)
    with _deaf_console(server, attacker) if unread else contextlib.nullcontext():
        server.start_endless(attacker, code)
        yield
        server.call("rlm_interrupt", session_id=attacker)
        server.finalize(attacker)


@contextlib.contextmanager
def _deaf_console(server: OurServer, session_id: str) -> Iterator[None]:
    """A client that has subscribed to everything that a kernel publishes, and reads none of it."""
    import zmq

    argv = [sys.executable, "-I", "-m", "rlm_kernel_mcp", "attach", session_id, "--print"]
    env = {**os.environ, "RLM_STATE_DIR": str(server.directory / "state")}
    found = subprocess.run(argv, env=env, capture_output=True, text=True, check=True).stdout.strip()
    connection = json.loads(Path(found).read_text(encoding="utf-8"))
    with zmq.Context() as context, context.socket(zmq.SUB) as console:
        console.setsockopt(zmq.RCVHWM, 1)
        console.setsockopt(zmq.LINGER, 0)
        console.subscribe(b"")
        console.connect(f"ipc://{connection['ip']}-{connection['iopub_port']}")
        console.poll(1_000)  # its subscription has been taken: it is welcomed
        yield


async def _answers(server: OurServer, neighbour: str, times: int) -> dict[str, tuple[float, ...]]:
    async def get_var() -> None:
        server.call("rlm_get_var", session_id=neighbour, var_name="mine")

    async def step() -> None:
        server.step(neighbour, "mine")

    calls = {"`rlm_get_var`": get_var, "a step": step}
    return {name: tuple([await milliseconds(call) for _ in range(times)]) for name, call in calls.items()}
