"""Cells of a notebook, by nbformat 4.5: plain objects, whose texts are safe to show.

Is: code cells, markdown cells, and their tags. Is not: which event becomes which cell (`events.py`), nor words
(`words.py`), nor what a step says (`notebook/form/outputs.py`). Sans-I/O. Above: `events.py`. Below:
`notebook/form/names.py`. Source: nbformat 4.5.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

from rlm_kernel_mcp.notebook.form.names import KEY, NOT_REPEATABLE, RAISES, CellFacts
from rlm_kernel_mcp.notebook.form.outputs import Json
from rlm_kernel_mcp.session.trace.facts import SEEN

ID_CHARS: Final = 64
"""Of a cell's id."""


def markdown_cell(cell_id: str, source: str, role: str, tags: Iterable[str] = ()) -> Json:
    """Text for reading. `role`: as `notebook/form/names.py` has it."""
    metadata: Json = {KEY: {"role": role}} | ({"tags": list(tags)} if tags else {})
    return {"cell_type": "markdown", "id": cell_id[:ID_CHARS], "metadata": metadata, "source": source}


def code_cell(
    cell_id: str,
    source: str,
    facts: CellFacts,
    tags: Iterable[str] = (),
    outputs: Iterable[Json] = (),
    execution_count: int | None = None,
) -> Json:
    """Code, with what it said. Tags follow from the facts too: what may say something else, and what raises."""
    outputs = list(outputs)
    more = [NOT_REPEATABLE] if facts.get("why") else []
    more += [RAISES] if "ended" in facts or any(one["output_type"] == "error" for one in outputs) else []
    return {
        "cell_type": "code",
        "id": cell_id[:ID_CHARS],
        "metadata": {KEY: facts, "tags": [*tags, *more]},
        "source": source,
        "outputs": outputs,
        "execution_count": execution_count,
    }


def note_facts(facts: CellFacts, known: Mapping[str, Any]) -> None:
    """Put into a cell's facts what the trace knows of its step's costs, and of what it has seen of the contexts."""
    if "cost" in known:
        facts["cost"], facts["delivered"] = known["cost"], known.get("delivered", 0)
        facts["printed"] = dict(known.get("printed", {}))
    if SEEN in known:
        facts["seen"] = known[SEEN]
