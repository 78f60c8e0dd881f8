"""Ways to take what a machine has, other than memory, or to hold on for ever: each the code of a step.

`ENDLESS` goes on until it is stopped, whatever it is told meanwhile; `ENDING` ends by itself, at a limit.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Endless:
    """Code that does not end by itself, without what says that it runs."""

    code: str
    obeys: bool = True
    """It ends at an interrupt, and its kernel lives on; else it is killed with its kernel."""
    needs_any: bool = False
    """It needs what `RLM_IMPORT_POLICY=any` alone gives."""


ENDLESS: Final = {
    "memory taken again and again": Endless(
        """
while True:
    try:
        taken = [0]
        while True:
            taken += taken
    except MemoryError:
        pass
"""
    ),
    "small objects taken again and again": Endless(
        """
while True:
    try:
        taken = []
        while True:
            taken.append(object())
    except MemoryError:
        pass
"""
    ),
    "threads that wait": Endless(
        """
import threading
end = threading.Event()
while True:
    try:
        threading.Thread(target=end.wait, daemon=True).start()
    except (RuntimeError, MemoryError):
        pass
"""
    ),
    "threads that work": Endless(
        """
import threading
def work():
    while True:
        pass
for _ in range(2):
    threading.Thread(target=work, daemon=True).start()
while True:
    pass
"""
    ),
    "a flood of output": Endless(
        """
while True:
    print("flood " * 200)
"""
    ),
    "a flood of long lines on both streams": Endless(
        """
import warnings
while True:
    print("x" * 1_000_000)
    warnings.warn("y" * 1_000_000, stacklevel=1)
"""
    ),
    "a flood of displayed values": Endless(
        """
from itertools import count
for number in count():
    display("shown " * 1000)
"""
    ),
    "backtracking of a regular expression": Endless(
        """
import re
re.match("(a+)+$", "a" * 60 + "b")
"""
    ),
    "a large power": Endless("9 ** 9 ** 9\n"),
    "every exception caught": Endless(
        """
while True:
    try:
        while True:
            pass
    except BaseException:
        pass
""",
        obeys=False,
    ),
    "a sum in C that looks at no signal": Endless("sum(range(10 ** 15))\n", obeys=False),
    "an endless iterator in C": Endless(
        """
import collections, itertools
collections.deque(itertools.repeat(0), maxlen=0)
""",
        obeys=False,
    ),
    "processes": Endless(
        """
import ctypes
libc = ctypes.CDLL(None)
while True:
    assert libc.fork() == libc.vfork() == -1
""",
        needs_any=True,
    ),
    "descriptors": Endless(
        """
import os
taken = []
while True:
    try:
        taken.append(os.dup(0))
    except OSError:
        refused = True
""",
        needs_any=True,
    ),
    "a flood of the descriptors 1 and 2": Endless(
        """
import os
while True:
    os.write(1, b"B" * 65536)
    os.write(2, b"C" * 65536)
""",
        needs_any=True,
    ),
    "signals ignored": Endless(
        """
import signal
for number in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2, signal.SIGXCPU):
    signal.signal(number, signal.SIG_IGN)
while True:
    pass
""",
        obeys=False,
        needs_any=True,
    ),
    "C code behind blocked signals that keeps the interpreter lock": Endless(
        """
import ctypes, signal
signal.pthread_sigmask(signal.SIG_BLOCK, set(signal.Signals) - {signal.SIGKILL, signal.SIGSTOP})
ctypes.PyDLL(None).sleep(1_000_000)
""",
        obeys=False,
        needs_any=True,
    ),
    "the server told to stop": Endless(
        """
import os, signal
while True:
    for number in (os.getppid(), -1, 0):
        for kind in (signal.SIGKILL, signal.SIGSTOP):
            try:
                os.kill(number, kind)
            except OSError:
                pass
""",
        needs_any=True,
    ),
}


@dataclass(frozen=True, slots=True)
class Ending:
    """Code that ends by itself with an error, and what of."""

    code: str
    errors: tuple[str, ...]
    """Beginnings of `ename: evalue`."""
    needs_any: bool = False


ENDING: Final = {
    "a thread too many": Ending(
        """
import threading
end = threading.Event()
try:
    while True:
        threading.Thread(target=end.wait, daemon=True).start()
finally:
    end.set()
""",
        ("RuntimeError: can't start new thread", "MemoryError"),
    ),
    "a process": Ending("import os\nos.fork()\n", ("PermissionError: [Errno 1]",), needs_any=True),
    "a program": Ending(
        "import subprocess\nsubprocess.run(['true'])\n", ("PermissionError: [Errno 1]",), needs_any=True
    ),
    "a descriptor too many": Ending(
        """
import os
taken = []
while True:
    taken.append(os.dup(0))
""",
        ("OSError: [Errno 24]",),
        needs_any=True,
    ),
    "recursion": Ending(
        """
def down(depth):
    return down(depth + 1)
down(0)
""",
        ("RecursionError",),
    ),
    "recursion in C": Ending(
        """
taken = ()
for _ in range(200_000):
    taken = (taken,)
repr(taken)
""",
        ("RecursionError",),
    ),
    "recursion in a text that C reads": Ending("import json\njson.loads('[' * 1_000_000)\n", ("RecursionError",)),
    "a whole number too long to show": Ending("str(1 << 10_000_000)\n", ("ValueError",)),
}
