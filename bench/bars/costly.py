"""How long a neighbour waits for a read while the server builds a costly reply, or parses a costly line."""

from __future__ import annotations

from bench.measure import Amounts, Bar, Figures, Row
from bench.sides.ours import Call, our_server

BAR_MS = 100.0
PRINTED = 3_900_000
SHOWN = 200_000
"""Characters of the longest reply."""
UNITS = {
    "escapes": "\\x1b",
    "escapes with letters between them": "\\x1ba",
    "line ends": "\\r\\n",
    "joiners": "\\u0301\\u200c",
}
"""The characters of the texts, by how costly each is."""
REPLIES = ("a page of a trace", "a page far into a trace", "a step's reply", "a step's reply in markdown")
"""Where such a text is passed."""
LINES = {
    "a line of 32 KB of quotes": b'\\"' * 16_384,
    "a line of 1 MB of brackets": b"[" * 2_000 + b"[]" * 500_000 + b"]" * 2_000,
}


async def costly(amounts: Amounts) -> list[Row]:
    """A neighbour's slowest read during each."""
    units = dict([*UNITS.items()][:1]) if amounts.smoke else UNITS
    rows: list[Row] = []
    with our_server() as server:
        neighbour, session = server.open_session(), server.open_session()
        server.step(neighbour, "mine = 'kept'")
        read: Call = ("rlm_get_var", {"session_id": neighbour, "var_name": "mine"})
        calls: dict[str, Call | bytes] = {}
        for what, unit in units.items():
            step = server.step(session, f"print('{unit}' * ({PRINTED} // len('{unit}')))", max_output_chars=100)
            steps = {"from_step": step["step_index"], "to_step": step["step_index"]}
            trace = {"session_id": session, **steps, "detail": "full", "max_output_chars": SHOWN}
            code = f"print('{unit}' * (190_000 // len('{unit}')))"
            run = {"session_id": session, "code": code, "max_output_chars": SHOWN}
            made: list[Call] = [
                ("rlm_get_trace", trace),
                ("rlm_get_trace", {**trace, "offset": 3_000_000}),
                ("rlm_run_repl", run),
                ("rlm_run_repl", {**run, "response_format": "markdown"}),
            ]
            calls |= zip((f"{reply} full of {what}" for reply in REPLIES), made, strict=True)
        calls |= LINES
        for what, call in calls.items():
            waits = server.waits_during(call, read)
            name = f"another session's read takes at most this long while the server is busy with {what}"
            rows.append(Row(name, Figures((max(waits),)), bar=Bar(BAR_MS, of="ours")))
    return rows
