"""State machines as pictures: what `docs/design.md` shows of a table, so that the two cannot differ."""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from typing import TypeVar

S = TypeVar("S", bound=Enum)
E = TypeVar("E", bound=Enum)


def picture(table: Mapping[S, Mapping[E, S]]) -> str:
    """A table as a diagram in Mermaid's words; it begins with the first state and ends with those of an empty row."""
    first = next(iter(table))
    lines = ["```mermaid", "stateDiagram-v2", f"    [*] --> {first.name}"]
    for state, row in table.items():
        ways: dict[S, list[str]] = {}
        for event, after in row.items():
            ways.setdefault(after, []).append(event.name)
        lines += [f"    {state.name} --> {after.name}: {', '.join(events)}" for after, events in ways.items()]
    lines += [f"    {state.name} --> [*]" for state, row in table.items() if not row]
    return "\n".join([*lines, "```"])


def pairs(table: Mapping[S, Mapping[E, S]]) -> list[tuple[S, E]]:
    """Every state with every event that its row has."""
    return [(state, event) for state, row in table.items() for event in row]


def way_to(table: Mapping[S, Mapping[E, S]], state: S, *, avoiding: frozenset[S] = frozenset()) -> list[E]:
    """The shortest row of events that leads from the first state to another."""
    ways: dict[S, list[E]] = {next(iter(table)): []}
    for reached in (queue := list(ways)):
        for event, after in table[reached].items():
            if after not in ways and after not in avoiding:
                ways[after] = [*ways[reached], event]
                queue.append(after)
    return ways[state]
