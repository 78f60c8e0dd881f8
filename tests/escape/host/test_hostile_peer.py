"""Whatever a kernel says on its wires: bounded memory, bounded time, and nobody else notices."""

from __future__ import annotations

import asyncio
import json

import pytest

from rlm_kernel_mcp.errors import KernelDied, VariableNotFound
from rlm_kernel_mcp.session.kernels import variables
from rlm_kernel_mcp.session.registry import Registry
from tests.escape.host.peers import bounded_memory, peer
from tests.parts import one_of_each
from tests.sessions import WAIT_S, SessionDriver

pytestmark = pytest.mark.anyio

GROWTH_MB = 50
STEP_MS = 800
AMPLE_MS = int(WAIT_S * 1_000)
"""Of a step that ends by itself, however slow the machine is."""

ENDS_WELL = ("honest", "foreign_parents", "twice", "reply_without_idle", "unknown_types")
NO_MESSAGE = {
    "no_json": "not JSON",
    "no_object": "not a JSON object",
    "no_utf8": "not JSON",
    "deep_json": "items",
    "deep_objects": "items",
    "many_items": "items",
    "many_items_below_1_mb": "items",
    "many_keys": "items",
    "giant_number": "not JSON",
    "endless_text": "not JSON",
    "large_content": "too large",
    "large_header": "too large",
    "no_delimiter": "no delimiter",
    "empty_message": "no delimiter",
    "too_few_parts": "fewer than four parts",
    "huge_frame": "more than 4,194,304 bytes",
    "huge_frame_on_shell": "more than 4,194,304 bytes",
    "exactly_too_large": "more than 4,194,304 bytes",
    "endless_multipart": "more than 4,194,304 bytes",
    "unknown_flags": "unknown flags",
    "many_frames": "more than 16 frames",
    "error_command": "refused",
    "flood_of_commands": "commands",
    "closes_a_channel": "and lived on",
    "flood_on_control": "answers no request",
}
"""What breaks the protocol or a limit, and the reason that the client is told."""

NEVER_ENDS = ("silence", "flood_of_output", "flood_of_input_requests")
LIKE_THEM = (
    "reply_on_the_wrong_channels",
    "flood_on_shell",
    "half_sent_giants",
    "flood_of_errors_output",
    "flood_of_small_output",
    "flood_of_results",
    "flood_of_tracebacks",
    "flood_of_pictures",
    "flood_for_others",
    "flood_of_comms",
)
"""The same in other messages, and slow."""


async def _unharmed(neighbour: SessionDriver) -> None:
    """The neighbour runs steps, shows variables, and is what it was."""
    assert (await neighbour.ok("context")).result == '"the neighbour\'s context"'
    assert await neighbour.value("kept") == "kept"


@pytest.mark.parametrize("behaviour", ENDS_WELL)
async def test_only_what_belongs_to_a_step_becomes_its_report(
    registry: Registry, neighbour: SessionDriver, behaviour: str
) -> None:
    """Foreign parents, second replies and unknown types change nothing."""
    async with peer(registry, behaviour) as hostile:
        report = await hostile.run("1", timeout_ms=AMPLE_MS)
        assert (report.status, report.error, report.lost) == ("ok", None, None)
        assert report.stdout.removesuffix("late") == "said\n"  # `twice` goes on after its end
        assert (await hostile.run("2", timeout_ms=AMPLE_MS)).status == "ok"
        await _unharmed(neighbour)


async def test_a_kernel_that_comes_to_rest_without_a_reply_is_not_believed_to_have_done_the_step(
    registry: Registry,
) -> None:
    """What it printed is told, and that nobody knows more."""
    async with peer(registry, "idle_without_reply") as hostile:
        report = await hostile.run("1", timeout_ms=AMPLE_MS)
        assert (report.status, report.stdout) == ("error", "said\n")
        assert report.error is not None
        assert "without a reply" in report.error.evalue


async def test_values_of_any_type_in_any_field_do_no_harm(registry: Registry, neighbour: SessionDriver) -> None:
    """Numbers for texts, texts for lists, surrogates, giants: the report is well-formed, whatever it says."""
    with bounded_memory(GROWTH_MB):
        async with peer(registry, "wrong_types") as hostile:
            report = await hostile.run("1", timeout_ms=AMPLE_MS)
            assert report.status in ("ok", "error")
            assert all(isinstance(row.name, str) for row in report.updated_vars_summary)
            json.dumps([report.stdout, report.stderr, report.result, report.note]).encode()
            await _unharmed(neighbour)


BREAKS = {
    *("no_json", "deep_json", "many_items", "large_content", "no_delimiter", "too_few_parts", "huge_frame"),
    *("endless_multipart", "unknown_flags", "many_frames", "flood_of_commands", "closes_a_channel", "flood_on_control"),
}
"""One of each rule that is broken."""


@pytest.mark.parametrize("behaviour", one_of_each({name: name for name in NO_MESSAGE}, BREAKS))
async def test_a_kernel_that_breaks_the_protocol_is_replaced_and_the_reason_said(
    registry: Registry, neighbour: SessionDriver, behaviour: str
) -> None:
    """At once, in bounded memory, and by a kernel that works."""
    reason = NO_MESSAGE[behaviour]
    with bounded_memory(GROWTH_MB):
        async with peer(registry, behaviour) as hostile:
            report = await hostile.run("1", timeout_ms=AMPLE_MS)
            assert report.status == "kernel_died"
            assert report.lost is not None
            assert reason in report.lost.reason
            await _unharmed(neighbour)
            assert (await hostile.ok("context")).result == "'some text'"


@pytest.mark.parametrize(
    "behaviour", [*NEVER_ENDS, *(pytest.param(name, marks=pytest.mark.slow) for name in LIKE_THEM)]
)
async def test_a_step_that_never_ends_ends_at_its_deadline_and_others_work_meanwhile(
    registry: Registry, neighbour: SessionDriver, behaviour: str
) -> None:
    """Floods of every kind on every channel: the neighbour's calls come through while they go on."""
    with bounded_memory(GROWTH_MB):
        async with peer(registry, behaviour) as hostile:
            await hostile.run("1", wait_ms=0, timeout_ms=STEP_MS)
            served = 0
            while hostile.session.status == "running" and served < 5:
                await _unharmed(neighbour)
                served += 1
            report = await hostile.end_of(1)
            assert report.status in ("timeout", "kernel_died")
            assert report.lost is not None
            assert served > 0
            assert (await hostile.ok("context")).result == "'some text'"


@pytest.mark.slow
async def test_consoles_that_a_kernel_makes_up_are_bounded(registry: Registry, neighbour: SessionDriver) -> None:
    """In memory and in the trace."""
    with bounded_memory(GROWTH_MB):
        async with peer(registry, "consoles") as hostile:
            assert (await hostile.run("1", timeout_ms=AMPLE_MS)).status == "ok"
            cells = [event for event in await hostile.trace("summary") if event.source == "console"]
            assert 0 < len(cells) <= 5_000
            await _unharmed(neighbour)
    rows = registry.store.events(hostile.session_id)
    assert sum(len(row.code or "") + len(row.stdout or "") + len(row.stderr or "") for row in rows) < 25_000_000


async def test_output_after_the_claimed_end_is_bounded(registry: Registry, neighbour: SessionDriver) -> None:
    """The step is over for the client; what still comes is cut off or told with the next step."""
    with bounded_memory(GROWTH_MB):
        async with peer(registry, "flood_of_late_output") as hostile:
            assert (await hostile.run("1", timeout_ms=AMPLE_MS)).status == "ok"
            for _ in range(3):
                await _unharmed(neighbour)
            await hostile.run("2", timeout_ms=STEP_MS)


async def test_texts_that_act_on_a_terminal_come_as_text(registry: Registry) -> None:
    """From every field of every message, the names of variables included, and within their bounds."""
    async with peer(registry, "names_that_act") as hostile:
        report = await hostile.run("1", timeout_ms=AMPLE_MS)
        assert report.error is not None
        texts = [report.stdout, report.stderr, report.result or "", *vars_of(report.error)]
        texts += [text for row in report.updated_vars_summary for text in (row.name, row.type)]
        assert texts
        for text in texts:
            assert not set(text) & set("\x1b\x07\x9b\u202e\u200b")
            assert "\\x1b]0;t\\x07\\u202e\\u200b\\x9b31m" in text
        assert len(report.updated_vars_summary) <= 500


def vars_of(error: object) -> list[str]:
    return [getattr(error, name) for name in ("ename", "evalue", "traceback")]


def row(payload: bytes, **fields: object) -> bytes:
    """An answer to `rlm_get_var`."""
    whole = {"status": "ok", "type": "str", "size": 1, "json": False, "total_chars": 1, **fields}
    return json.dumps(whole).encode() + b"\n" + payload


VARIABLES = {
    "more text than was asked for": row(b"x" * 3_000_000),
    "no utf-8": row(b"\xff" * 100_000),
    "surrogates": row("\ud800".encode("utf-8", "surrogatepass") * 1_000),
    "a size that is none": row(b"x", size="large", total_chars=-1),
    "a giant total": row(b"x", total_chars=1 << 60),
    "json that is none": row(b"{", json=True),
    "json that is not a number": row(b"NaN", json=True),
    "a giant number": row(b"9" * 100_000, json=True),
    "a number beyond all": row(b"1e999", json=True),
    "numbers beyond all": row(b'{"a": [1, -1e999, 1E+400]}', json=True),
    "deep json": row(b"[" * 100_000 + b"]" * 100_000, json=True),
    "less deep json": row(b"[" * 900 + b"]" * 900, json=True),
    "keys that act": row(json.dumps({"\x1b[31m": "\u202e"}).encode(), json=True),
    "many items": row(b"[" + b"[]," * 90_000 + b"[]]", json=True),
    "a type that acts": row(b"x", type="\x1b[31m" * 1_000),
    "a type that is none": row(b"x", type=["x"]),
}


ODD_ANSWERS = {
    *("more text than was asked for", "no utf-8", "a size that is none", "a giant number", "numbers beyond all"),
    *("deep json", "keys that act", "a type that is none"),
}
"""One of each kind."""


@pytest.mark.parametrize("variable", one_of_each(VARIABLES, ODD_ANSWERS))
async def test_whatever_is_answered_for_a_variable_is_bounded_and_safe(
    registry: Registry, neighbour: SessionDriver, variable: bytes
) -> None:
    """The client gets JSON and Unicode, at most as many characters as it asked for."""
    with bounded_memory(GROWTH_MB):
        async with peer(registry, "variables", variable) as hostile:
            shown = await hostile.slice("name", limit=200_000)
            text = json.dumps([shown.name, shown.type, shown.value], ensure_ascii=False, allow_nan=False)
            text.encode()
            assert not set(text) & set("\x1b\u202e")
            assert len(text) < 500_000
            await _unharmed(neighbour)


NO_ANSWER = (
    "answer_without_an_id",
    "answer_with_a_list_as_id",
    "answer_with_a_foreign_id",
    "answer_to_what_was_not_asked_yet",
    "answer_with_digits_of_another_script",
    "answer_with_an_endless_number",
    "answer_that_is_no_json",
    "answer_that_is_no_object",
    "answer_in_too_few_parts",
)
NOTHING_IN_IT = ("answer_that_is_called_a_snapshot", "answer_that_says_nothing", "answer_of_another_kind")


NONE_AT_ALL = {
    *("answer_without_an_id", "answer_with_a_list_as_id", "answer_to_what_was_not_asked_yet", "answer_that_is_no_json"),
    *("answer_in_too_few_parts", "answer_that_says_nothing", "answer_of_another_kind"),
}
"""One of each kind."""


@pytest.mark.parametrize("behaviour", one_of_each({name: name for name in (*NO_ANSWER, *NOTHING_IN_IT)}, NONE_AT_ALL))
async def test_an_answer_that_is_none_is_not_waited_out(
    registry: Registry, neighbour: SessionDriver, behaviour: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is called what it is, at once: here nobody would wait for another to the end of the test."""
    monkeypatch.setattr(variables, "READ_TIMEOUT_S", 10 * WAIT_S)
    async with peer(registry, behaviour) as hostile, asyncio.timeout(WAIT_S):
        if behaviour == "answer_of_another_kind":
            assert (await hostile.slice("x")).value == ""
        else:
            with pytest.raises(KernelDied if behaviour in NO_ANSWER else VariableNotFound) as refused:
                await hostile.slice("x")
            assert "in one long call" not in refused.value.message
        await _unharmed(neighbour)


NAMES = {
    "many items": b"[" + b"[]," * 1_000_000 + b"[]]",
    "many names": json.dumps([["missin" + "g" * 190, "t", 1]] * 15_000).encode(),
    "no list": b"{}",
    "deep": b"[" * 200_000,
    "other shapes": json.dumps([[1, 2, 3], ["a"], None, [["missing"], "t", 1], ["\x1b[31mmissing", "t", 0]]).encode(),
}


@pytest.mark.parametrize("names", one_of_each(NAMES, {"many items", "deep", "other shapes"}))
async def test_whatever_is_answered_for_the_names_is_bounded_and_safe(
    registry: Registry, neighbour: SessionDriver, names: bytes
) -> None:
    """A missing variable is answered as such."""
    with bounded_memory(GROWTH_MB):
        async with peer(registry, "variables", names) as hostile:
            with pytest.raises(VariableNotFound) as refused:
                await hostile.slice("missing")
            assert "\x1b" not in refused.value.message
            assert len(refused.value.message) < 5_000
            await _unharmed(neighbour)
