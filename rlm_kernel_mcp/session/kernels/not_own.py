"""What is said of a variable whose text is not its value: an object of a class, an iterator, a function.

Is: words, chosen by the name of the type that the kernel says. Is not: a look at the value. Above: `variables.py`.
Below: `text/markup.py`.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from rlm_kernel_mcp.text.markup import word

_ITERATORS: Final = frozenset({"generator", "map", "zip", "filter", "enumerate", "reversed", "islice", "chain"})
_CODE: Final = frozenset({"function", "method", "builtin_function_or_method", "module"})

_MARKS: Final = frozenset({"NotImplementedType", "ellipsis"})
NO_ANSWER: Final = _CODE | _MARKS | {"Documents"}
"""Types whose text is their own and still answers nothing."""


class NotOwn(NamedTuple):
    """What it is, the note of `rlm_get_var`, and what to bind to a name in its place for a final answer."""

    what: str
    note: str | None
    bind: str


def not_own(name: str, kind: str) -> NotOwn:
    """What to say of a variable of this name and type, whose text is not its own."""
    if kind in _ITERATORS or kind.endswith("iterator"):
        note = f"An iterator has no items yet: list({name}) in a step makes them."
        what = f"is an iterator ({word(kind)}), which has no items yet"
        return NotOwn(what, note, f"its items (answer = list({name}))")
    if kind in ("coroutine", "async_generator"):
        how = f"await {name}" if kind == "coroutine" else f"[item async for item in {name}]"
        return NotOwn(
            f"is a {kind} that has not run", f"It has not run: {how} in a step.", f"its value (answer = {how})"
        )
    if kind == "Documents":
        return NotOwn("is the table of documents", None, f"a document's text (answer = {name}[document])")
    if kind in NO_ANSWER:
        return NotOwn(f"is not a value but a {kind}", None, "what it gives to a name")
    return NotOwn(
        f"is or holds an object ({word(kind)}) whose text only its own code can make",
        f"An object is shown by its fields: its own code is not run. A step with str({name}) has its own text.",
        f"its text to a name (answer = str({name}))",
    )
