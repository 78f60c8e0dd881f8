"""Text of which every character prints: what a path or a kernel's reason may be in a message or in the log.

Is: an escape for whatever is not a printable character of Python. Is not: a kernel's output, in which line ends and
what spells a word stay (`safe_text.py`), nor any cut. Above: `context/roots/path_errors.py`,
`kernel/placement/local/startup_status.py`. Below: nothing.
"""

from __future__ import annotations


def printable(text: str) -> str:
    """`text` with every control, format, surrogate and undecodable character as a backslash escape."""
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else _escaped(char) for char in text)


def _escaped(char: str) -> str:
    number = ord(char)
    if 0xDC80 <= number <= 0xDCFF:  # a byte that is not UTF-8, as `os.fsdecode` hands it on
        return f"\\x{number - 0xDC00:02x}"
    return char.encode("unicode_escape", "backslashreplace").decode("ascii")
