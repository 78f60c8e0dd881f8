"""What a .gitignore leaves out, rule by rule as git reads it. Sans-I/O.

Is: one file's rules, and their verdict on one path below its directory; the `exclude` patterns of a request too.
Is not: which files apply to a directory (`ignoring.py`). Bytes throughout, as in git: `?` is one byte, and a name need
not be UTF-8.

The text comes with what is loaded, so its author may be hostile: a rule becomes a regular expression that never
backtracks into what it has matched, and a match costs at most the rule's length times the path's.
Above: `ignoring.py`. Below: nothing.
"""

from __future__ import annotations

import re
import string
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Final

TEXT_BYTES_LIMIT: Final = 256 * 1024
"""Longest .gitignore that is honored."""
RULE_LIMIT: Final = 5_000
"""Most rules in one."""
RULE_BYTES_LIMIT: Final = 4_096
"""Longest rule; a longer one matches nothing."""

_STAR: Final = b"*"
_IN_NAME: Final = b"[^/]*"
_WILD: Final = frozenset(b"*?[\\")
_CLASSES: Final = {
    b"alnum": string.ascii_letters + string.digits,
    b"alpha": string.ascii_letters,
    b"blank": " \t",
    b"cntrl": "".join(map(chr, [*range(32), 127])),
    b"digit": string.digits,
    b"graph": string.ascii_letters + string.digits + string.punctuation,
    b"lower": string.ascii_lowercase,
    b"print": string.ascii_letters + string.digits + string.punctuation + " ",
    b"punct": string.punctuation,
    b"space": " \t\n\r",
    b"upper": string.ascii_uppercase,
    b"xdigit": string.hexdigits,
}

Matcher = Callable[[bytes], object]


class TooManyRulesError(ValueError):
    """A .gitignore is larger than what is honored."""


@dataclass(frozen=True, slots=True)
class Rule:
    """One line: what it matches, and what a match means."""

    matches: Matcher
    by_name: bool
    """Matched against the last part of a path, at any depth; otherwise against the path below the file's directory."""
    is_negated: bool
    directories_only: bool
    literal: bytes | None = None
    """The only name that it matches, if it is `by_name` and has no wildcard."""
    ending: bytes | None = None
    """What the names that it matches end with, if it is one star followed by this."""

    @property
    def is_simple(self) -> bool:
        return self.literal is not None or self.ending is not None


class Rules:
    """The rules of one file, of which the last that matches decides."""

    def __init__(self, rules: Iterable[Rule]) -> None:
        self._rules = tuple(rules)[::-1]
        self._wild = tuple(rule for rule in self._rules if not rule.is_simple)
        self._literals = frozenset(rule.literal for rule in self._rules if rule.literal is not None)
        self._endings = tuple({rule.ending for rule in self._rules if rule.ending is not None})

    def __bool__(self) -> bool:
        return bool(self._rules)

    def verdict(self, path: bytes, *, is_directory: bool) -> bool | None:
        """Whether an entry is left out (True) or kept (False); None if no rule matches it.

        `path` is relative to the file's directory. The caller has to know whether a directory above it is left out.
        """
        name = path[path.rfind(b"/") + 1 :]
        is_told_of = name in self._literals or name.endswith(self._endings)
        for rule in self._rules if is_told_of else self._wild:
            if (is_directory or not rule.directories_only) and rule.matches(name if rule.by_name else path):
                return not rule.is_negated
        return None


def git_rules(text: bytes) -> Rules:
    """The rules of a .gitignore.

    Raises:
        TooManyRulesError: it has more than 256 KB or 5,000 rules.
    """
    if len(text) > TEXT_BYTES_LIMIT:
        raise TooManyRulesError(f"it has more than {TEXT_BYTES_LIMIT:,} bytes")
    rules = [rule for line in _lines(text) if (rule := git_rule(line))]
    if len(rules) > RULE_LIMIT:
        raise TooManyRulesError(f"it has more than {RULE_LIMIT:,} rules")
    return Rules(rules)


def git_rule(line: bytes) -> Rule | None:
    """The rule of a line that is not a comment and has no trailing spaces; None if it can match nothing."""
    is_negated = line.startswith(b"!")
    pattern = line[is_negated:]
    directories_only = pattern.endswith(b"/")
    pattern = pattern[: len(pattern) - directories_only]
    if not pattern or len(pattern) > RULE_BYTES_LIMIT:
        return None
    by_name = b"/" not in pattern
    literal = ending = None
    if by_name and not _WILD.intersection(pattern):
        literal = pattern
    elif by_name and pattern.startswith(_STAR) and not _WILD.intersection(pattern[1:]):
        ending = pattern[1:]
    expression = _expression(pattern if by_name else pattern.removeprefix(b"/"))
    if expression is None:
        return None
    return Rule(re.compile(expression, re.DOTALL).fullmatch, by_name, is_negated, directories_only, literal, ending)


def _lines(text: bytes) -> Iterator[bytes]:
    for line in text.removeprefix(b"\xef\xbb\xbf").split(b"\n"):
        rule = line.removesuffix(b"\r").split(b"\0", 1)[0]
        if rule and not rule.startswith(b"#"):
            yield _without_blanks_at_end(rule)


def _without_blanks_at_end(line: bytes) -> bytes:
    end = len(line.rstrip(b" "))
    before = line[:end]
    # After an odd number of backslashes the first space is escaped, and stays.
    backslashes = len(before) - len(before.rstrip(b"\\"))
    return line[: end + 1] if backslashes % 2 and end < len(line) else before


def _expression(pattern: bytes) -> bytes | None:
    """The regular expression of a pattern; None if it can match nothing (a bracket that is not closed)."""
    # Git compares the text before the first wildcard separately, so a `**` that begins right there is a whole part.
    fixed = next((at for at, byte in enumerate(pattern) if byte in _WILD), len(pattern))
    parts = _parts(pattern[fixed:])
    if parts is None:
        return None
    # To git, `**\\/` is a `**` that matches at least one directory.
    depth_of = {True: b"(?:[^/]*/)+", False: b"(?:[^/]*/)*"}
    expression = [re.escape(pattern[:fixed])]
    group: list[bytes] = []
    depth = b""
    for at, (part, is_escaped) in enumerate(parts):
        is_last = at == len(parts) - 1
        if len(part) > 1 and set(part) == {_STAR}:
            if group:
                expression.append(_group(group, depth, ends_in_slash=True))
            elif depth == depth_of[True]:
                expression.append(b"[^/]*/")
            group, depth = [], depth_of[is_escaped]
            if is_last:
                expression.append(b".*")
        else:
            group.append(_name_expression(part))
    if group:
        expression.append(_group(group, depth, ends_in_slash=False))
    return b"".join(expression)


def _group(names: list[bytes], depth: bytes, *, ends_in_slash: bool) -> bytes:
    """The parts between two `**`. The first place where they match is as good as any: the next `**` takes the rest."""
    group = b"/".join(names) + (b"/" if ends_in_slash else b"")
    if not depth:
        return group
    return b"(?>" + depth + b"?" + group + b")" if ends_in_slash else depth + group


def _name_expression(part: list[bytes]) -> bytes:
    """The expression of the part between two slashes: after a star, the first place that matches is final."""
    pieces: list[list[bytes]] = [[]]
    for token in part:
        if token == _STAR:
            pieces.append([])
        else:
            pieces[-1].append(token)
    first, *others = (b"".join(piece) for piece in pieces)
    if not others:
        return first
    *middle, last = others
    return first + b"".join(b"(?>[^/]*?" + piece + b")" for piece in middle if piece) + _IN_NAME + last


def _parts(pattern: bytes) -> list[tuple[list[bytes], bool]] | None:
    """The pattern's parts between slashes, each as tokens (a star, or the expression of one byte).

    Each comes with whether the slash after it is escaped.
    """
    parts: list[tuple[list[bytes], bool]] = []
    part: list[bytes] = []
    at = 0
    while at < len(pattern):
        byte = pattern[at : at + 1]
        at += 1
        if byte == b"\\":
            byte = pattern[at : at + 1]
            at += 1
            if not byte:
                return None
            if byte == b"/":
                parts.append((part, True))
                part = []
            else:
                part.append(re.escape(byte))
        elif byte == b"/":
            parts.append((part, False))
            part = []
        elif byte == b"*":
            part.append(_STAR)
        elif byte == b"?":
            part.append(b"[^/]")
        elif byte == b"[":
            found = _bracket(pattern, at)
            if found is None:
                return None
            token, at = found
            part.append(token)
        else:
            part.append(re.escape(byte))
    return [*parts, (part, False)]


def _bracket(pattern: bytes, at: int) -> tuple[bytes, int] | None:
    """The expression of a bracket whose `[` is just before `at`, and where it ends; None if it is not closed."""
    is_negated = pattern[at : at + 1] in (b"!", b"^")
    at += is_negated
    members: set[int] = set()
    before = 0
    is_first = True
    while (byte := pattern[at : at + 1]) != b"]" or is_first:
        is_first = False
        following = pattern[at + 1 : at + 2]
        if not byte:
            return None
        if byte == b"-" and before and following not in (b"", b"]"):
            at += 1 + (following == b"\\")
            last = pattern[at : at + 1]
            if not last:
                return None
            members.update(range(before, last[0] + 1))
            before = 0
        elif byte == b"[" and following == b":" and (end := _class_end(pattern, at + 2)) is not None:
            name = pattern[at + 2 : end - 1]
            if name not in _CLASSES:
                return None
            members.update(_CLASSES[name].encode())
            at, before = end, 0
        else:
            at += byte == b"\\"
            if not pattern[at : at + 1]:
                return None
            before = pattern[at]
            members.add(before)
        at += 1
    return _one_of(members, is_negated=is_negated), at + 1


def _one_of(members: set[int], *, is_negated: bool) -> bytes:
    """An expression for one byte that is, or is not, among these and never a slash; about as long as its source."""
    slash = ord("/")
    listed = sorted(members | {slash} if is_negated else members - {slash})
    ranges: list[list[int]] = []
    for one in listed:
        if ranges and one == ranges[-1][1] + 1:
            ranges[-1][1] = one
        else:
            ranges.append([one, one])
    spelled = b"".join(b"\\x%02x" % first + (b"-\\x%02x" % last if last > first else b"") for first, last in ranges)
    if not spelled:
        return b"(?!)"
    return (b"[^" if is_negated else b"[") + spelled + b"]"


def _class_end(pattern: bytes, start: int) -> int | None:
    """Where the `]` of `[:name:]` is; None if there is no such name."""
    end = pattern.find(b"]", start)
    return end if end > start and pattern[end - 1 : end] == b":" else None
