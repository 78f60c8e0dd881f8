"""A process of the same user that attacks may aim at: counts the signals it gets, and shows its state when asked.

It is given a token first, keeps it in memory, and says at which address.
"""

from __future__ import annotations

import ctypes
import json
import os
import resource
import signal
import sys

hits: list[int] = []

for number in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP, signal.SIGCHLD}:
    signal.signal(number, lambda received, _frame: hits.append(received))
token = ctypes.create_string_buffer(sys.stdin.readline().strip().encode())
print(ctypes.addressof(token), flush=True)
for _ in sys.stdin:
    state = {
        "signals": hits,
        "limit": resource.getrlimit(resource.RLIMIT_CPU),
        "nice": os.getpriority(os.PRIO_PROCESS, 0),
        "scheduler": os.sched_getscheduler(0),
        "affinity": sorted(os.sched_getaffinity(0)),
    }
    print(json.dumps(state), flush=True)
