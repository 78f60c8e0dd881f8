"""The live page has a word for whatever the server may tell it, says all of its keys, and has the design's colours."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final, get_args

import pytest

from rlm_kernel_mcp.session.evidence.citations import Status
from rlm_kernel_mcp.session.reports import EndStatus, GuardrailStop, SessionStatus
from rlm_kernel_mcp.watching.exporting import STATIC
from rlm_kernel_mcp.watching.messages.events import Kind
from rlm_kernel_mcp.watching.record.listed import WRONG

LIGHT: Final = {
    "paper": "#f6f5f1",
    "card": "#fffefc",
    "code": "#f1efe9",
    "shade": "#eceae3",
    "ink": "#1b1d21",
    "soft": "#565b63",
    "searched": "#7c8897",
    "delivered": "#1f5fbf",
    "cited": "#a65200",
    "bad": "#b3261e",
    "kill": "#74389a",
    "live": "#0a6f66",
    "person": "#6b5a00",
}
DARK: Final = {
    "paper": "#131519",
    "card": "#1a1d22",
    "code": "#15181c",
    "shade": "#23272d",
    "ink": "#e9e6e0",
    "soft": "#a5a9b1",
    "searched": "#74818f",
    "delivered": "#7fb2ff",
    "cited": "#f3ae63",
    "bad": "#ff9a91",
    "kill": "#d4a8f2",
    "live": "#5fd3c4",
    "person": "#e0cf6e",
}
"""The design's table."""
BEDS: Final = ("paper", "card", "code", "shade")
AS_TEXT: Final = 4.5
AS_A_SHAPE: Final = 3.0
"""Contrasts that WCAG 2.2 asks for (1.4.3, 1.4.11)."""


def text_of(name: str) -> str:
    return (STATIC / name).read_text(encoding="utf-8")


def names_in(module: str, constant: str) -> set[str]:
    """The keys of an object, or the texts of a set, that a module defines."""
    defined = rf"^(?:export )?const {constant} = (?:new Set\(\[(.*?)\]|{{(.*?)}})"
    found = re.search(defined, text_of(module), re.MULTILINE | re.DOTALL)
    assert found is not None, (module, constant)
    if found[1] is not None:
        return {*re.findall(r'"(\w+)"', found[1])}
    return {*re.findall(r"(?:^|[{,])\s*(\w+):", found[2], re.MULTILINE)}


def test_each_state_of_a_session_and_each_end_of_a_step_has_a_word() -> None:
    assert names_in("ground/words.js", "STATES") >= {*get_args(SessionStatus)}
    assert names_in("ground/words.js", "OUTCOMES") >= {*get_args(EndStatus), "running", "stopped"}
    assert names_in("ground/words.js", "LIVE") == {"running", "idle"}


def test_each_verdict_on_a_citation_each_kind_of_event_and_each_limit_has_a_word() -> None:
    assert names_in("ground/words.js", "VERDICTS") == {*get_args(Status)}
    assert names_in("run/cards.js", "TITLES") == {*get_args(Kind)} - {"step"}
    assert names_in("run/cards.js", "LIMIT_OF") == {*get_args(GuardrailStop)}


def test_whatever_is_not_ok_went_wrong_on_the_page_of_a_session_and_in_the_list() -> None:
    """Also a step whose end nobody heard, since its server was killed."""
    assert {*get_args(EndStatus)} - {"ok"} == WRONG
    assert names_in("run/record.js", "WRONG") == WRONG | {"stopped"}


def test_the_help_says_each_key_that_there_is() -> None:
    act = re.search(r"const act = {(.*?)}\[event\.key\]", text_of("views/keys.js"), re.DOTALL)
    assert act is not None
    keys = {key.strip('"') for key in re.findall(r"^\s+(\w|\"[^\"]\"): \(", act[1], re.MULTILINE)}
    assert keys == {*"jkeofa/?"}
    assert {*re.findall(r"<kbd>([^<]+)</kbd>", text_of("index.html"))} == keys | {"Esc"}


def colours() -> tuple[Mapping[str, str], Mapping[str, str]]:
    """Of light, and of dark."""
    light, dark = text_of("style/ground.css").split("@media (prefers-color-scheme: dark)")
    first, second = (dict(re.findall(r"--([\w-]+): (#[0-9a-f]{3,6});", part)) for part in (light, dark))
    return first, second


def contrast(one: str, other: str) -> float:
    """As WCAG has it."""
    first, second = sorted((_luminance(one), _luminance(other)), reverse=True)
    return (first + 0.05) / (second + 0.05)


def _luminance(colour: str) -> float:
    parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    red, green, blue = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


@pytest.mark.parametrize(("place", "design"), [(0, LIGHT), (1, DARK)], ids=["light", "dark"])
def test_colours_are_the_design_s_and_can_be_read(place: int, design: Mapping[str, str]) -> None:
    found = colours()[place]
    assert {name: found[name] for name in design} == design
    for name, colour in design.items():
        if name not in BEDS:
            least = AS_A_SHAPE if name == "searched" else AS_TEXT
            beds = ["paper"] if name == "searched" else BEDS
            assert [bed for bed in beds if contrast(colour, design[bed]) < least] == [], name
