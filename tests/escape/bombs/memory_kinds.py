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

_BY_CALLS: Final = """
import ctypes, os
libc = ctypes.CDLL(None, use_errno=True)
libc.mmap.restype = libc.mremap.restype = ctypes.c_void_p
libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_long]
libc.mremap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_size_t, ctypes.c_int]
libc.mprotect.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
libc.memset.argtypes = [ctypes.c_void_p, ctypes.c_int, ctypes.c_size_t]
piece, failed = 1 << 22, ctypes.c_void_p(-1).value
def checked(result):
    if result in (failed, -1):
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return result
def taken(flags, size=piece, protection=3, descriptor=-1):
    return checked(libc.mmap(None, size, protection, flags, descriptor, 0))
def written(address, size=piece):
    libc.memset(address, 1, size)
"""
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
    "stacks": f"""{_BY_CALLS}
while True:
    written(taken(0x122))
""",
    "4 GB of a stack at once": f"""{_BY_CALLS}
written(taken(0x122, 4 << 30), 4 << 30)
""",
    "shared memory by its call": f"""{_BY_CALLS}
while True:
    written(taken(0x21))
""",
    "memory that grows where it moves": f"""{_BY_CALLS}
size = piece
address = taken(0x22)
while True:
    address = checked(libc.mremap(address, size, size + piece, 1))
    size += piece
    written(address + size - piece)
""",
    "a stack that grows where it moves": f"""{_BY_CALLS}
size = piece
address = taken(0x122)
while True:
    address = checked(libc.mremap(address, size, size + piece, 1))
    size += piece
    written(address + size - piece)
""",
    "pages of a file that are written to": f"""{_BY_CALLS}
file = os.open(os.__file__, os.O_RDONLY)
while True:
    address = taken(2, 8 * 4096, 1, file)
    checked(libc.mprotect(address, 8 * 4096, 3))
    written(address, 8 * 4096)
""",
    "addresses that are filled and then made writable": f"""{_BY_CALLS}
kept, size = [], 64 << 30
while size >= piece:
    try:
        kept.append((taken(0x4022, size, 0), size))
    except OSError:
        size //= 2
for address, size in kept:
    for place in range(address, address + size, piece):
        checked(libc.mprotect(place, piece, 3))
        written(place)
raise MemoryError("there were no more addresses")
""",
}
"""With `RLM_IMPORT_POLICY=any`."""
