"""A further context in a session that has some: its text or its parsed JSON, bound beside what is there.

Is: what is bound, and what of it the snapshots leave to the host. Is not: the first context (`offered.py`), a wall or a
courtesy. Above: `in_kernel/ipython/control.py`. Below: `offered.py`, `documents.py`.
"""

from __future__ import annotations

import json
from collections.abc import MutableMapping
from typing import Any, Final

from rlm_kernel_mcp.context_wire import BAD_JSON, NAME_TAKEN
from rlm_kernel_mcp.in_kernel.explore.sources import drop_source, set_source
from rlm_kernel_mcp.in_kernel.namespace.documents import Documents
from rlm_kernel_mcp.in_kernel.namespace.offered import Loaded
from rlm_kernel_mcp.in_kernel.walls.limits import has_room

JSON_KEPT_CHARS: Final = 4 << 20
"""The value of a JSON text of up to so many characters is in the snapshots, as any that steps may change. A larger one
comes back as it was given, and that is told."""


STEP_BYTES: Final = 8 << 20
"""A step can do little with less."""


class CannotAdd(Exception):
    """A context that cannot be added; the host knows the reason by the class's name."""


class NameTaken(CannotAdd):
    """Its name is bound."""


class BadJson(CannotAdd):
    """Its text is not JSON, or nested too deep to be parsed."""


NameTaken.__name__, BadJson.__name__ = NAME_TAKEN, BAD_JSON


def add_text(user_ns: MutableMapping[str, Any], loaded: Loaded, documents: object) -> dict[str, Any]:
    """Bind a text, and add its documents to the session's own; returns what the session has by itself now.

    `documents`: those, as they were bound at first, whatever a step has made of the name.
    """
    if type(documents) is Documents:
        documents.add(loaded.context, loaded.documents, loaded.name)
    else:  # the first context is not there
        documents = Documents(loaded.context, loaded.documents, loaded.name)
    user_ns.setdefault("documents", documents)
    user_ns[loaded.name] = loaded.context
    set_source(loaded.source, first=False)
    return {loaded.name: loaded.context, "documents": documents}


def add_json(user_ns: MutableMapping[str, Any], loaded: Loaded) -> dict[str, Any]:
    """Bind what a JSON text says. Steps can change it, so it is kept as a value of theirs, unless it is too large.

    Raises:
        BadJson.
    """
    try:
        value = json.loads(loaded.context)
    except RecursionError:
        raise BadJson("it is nested too deep to be parsed") from None
    except ValueError as error:  # also a number of too many digits
        raise BadJson(str(error)) from None
    user_ns[loaded.name] = value
    return {} if len(loaded.context) <= JSON_KEPT_CHARS else {loaded.name: value}


def add_value(user_ns: MutableMapping[str, Any], name: str, value: object, chars: int) -> dict[str, Any]:
    """Bind the value of a JSON text of so many characters, which a loader has parsed; kept as `add_json` says.

    Raises:
        MemoryError: it leaves too little for steps, which have less than what it was read in.
    """
    if not has_room(STEP_BYTES):
        raise MemoryError
    user_ns[name] = value
    return {} if chars <= JSON_KEPT_CHARS else {name: value}


def take_back(user_ns: MutableMapping[str, Any], name: str, documents: object) -> None:
    """Undo what was added last: its file was written to while it was loaded."""
    user_ns.pop(name, None)
    drop_source(name)
    if type(documents) is Documents:
        documents.take_back(name)
