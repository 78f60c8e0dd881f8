"""Ways to take memory without end, each the code of a step: what it is called, and what it does."""

from __future__ import annotations

from typing import Final

SHIPPED: Final = {
    "a list that doubles": """
taken = [0]
while True:
    taken += taken
""",
    "a list of bytearrays": """
taken = []
while True:
    taken.append(bytearray(1 << 20))
""",
    "a bytearray that grows": """
taken = bytearray(1 << 20)
while True:
    taken += bytes(len(taken))
""",
    "a text that doubles": """
taken = "x" * 1000
while True:
    taken += taken
""",
    "a join of a large text": """
"".join("x" * 1000 for _ in range(100_000_000))
""",
    "one allocation past any limit": """
bytes(1 << 40)
""",
    "a large whole number": """
taken = 3
while True:
    taken *= taken << 1_000_000
""",
    "many small objects": """
taken = []
while True:
    taken.append(object())
""",
    "many instances": """
class Node:
    def __init__(self, before):
        self.before = before
taken = None
while True:
    taken = Node(taken)
""",
    "a dict that grows": """
taken = {}
while True:
    taken[len(taken)] = str(len(taken))
""",
    "lists in lists": """
taken = []
while True:
    taken = [taken, [1], {1: taken}]
""",
    "a set of tuples": """
taken = set()
while True:
    taken.add((len(taken), 1.5))
""",
    "a sorted range": """
sorted(range(10**10), reverse=True)
""",
    "words of a large text": """
len(("a " * 5_000_000).split() * 1000)
""",
    "a text shown whole": """
["x" * 1000] * 100_000_000
""",
    "a text made by json": """
import json
json.dumps(["x" * 1000] * 10_000_000)
""",
    "a decompressed bomb": """
import zlib
block = zlib.compress(bytes(1 << 24))
taken = []
while True:
    taken.append(zlib.decompress(block))
""",
    "matches of a regular expression": """
import re
re.findall("(((((a)))))", "a" * 50_000_000)
""",
    "a product of iterators": """
import itertools
list(itertools.product(range(1000), repeat=4))
""",
    "an array that doubles": """
from array import array
taken = array("d", bytes(8000))
while True:
    taken.extend(taken)
""",
    "frames of a generator chain": """
def numbers():
    yield 1
taken = numbers()
kept_alive = []
while True:
    taken = (number for number in taken)
    kept_alive.append(taken)
""",
    "several threads at once": """
import threading
parts, ended, go = [], [], threading.Event()
def fill():
    go.wait()
    try:
        while not ended:
            parts.append(bytearray(1 << 20))
    finally:
        ended.append(1)
threads = [threading.Thread(target=fill) for _ in range(4)]
for thread in threads:
    thread.start()
go.set()
try:
    for thread in threads:
        thread.join()
finally:
    ended.append(1)
    for thread in threads:
        thread.join()
raise MemoryError("in the threads")
""",
    "caught and taken again": """
taken = []
for _ in range(200):
    try:
        while True:
            taken.append(bytearray(1 << 16))
    except MemoryError:
        pass
raise MemoryError("again and again")
""",
}
"""With what the shipped policy gives."""

ANY: Final = {
    "private mappings": """
import mmap
taken = []
while True:
    area = mmap.mmap(-1, 1 << 24, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    area.write(bytes(1 << 24))
    taken.append(area)
""",
    "shared mappings": """
import mmap
taken = []
while True:
    area = mmap.mmap(-1, 1 << 24)
    area.write(bytes(1 << 24))
    taken.append(area)
""",
    "malloc of the C library": """
import ctypes
libc = ctypes.CDLL(None)
libc.malloc.restype = ctypes.c_void_p
libc.malloc.argtypes = [ctypes.c_size_t]
libc.memset.argtypes = [ctypes.c_void_p, ctypes.c_int, ctypes.c_size_t]
while block := libc.malloc(1 << 20):
    libc.memset(block, 1, 1 << 20)
raise MemoryError("malloc gave nothing")
""",
}
"""With `RLM_IMPORT_POLICY=any`."""
