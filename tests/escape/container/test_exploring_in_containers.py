"""The exploring functions and the check of what they cite, in a session whose kernel is in a container."""

from __future__ import annotations

import json

import pytest

from tests.escape.container.runtimes import ContainerServer
from tests.mcp.line_client import text_of

pytestmark = pytest.mark.slow

FILES = {
    "a.log": "one\nneedle 1\nthree\n",
    "b.md": "# Title\n\n## A heading\n✓ the needle\n",
    "c.jsonl": '{"k": 1}\n{"k": 2}\n',
}
SAID = {
    "look().kind, look('a.log').lines": "('documents', 3)",
    r"[(h.doc, h.line) for h in search(r'\bneedle\b', regex=True)]": "[('a.log', 2), ('b.md', 4)]",
    "search('needle', docs='b.md')[0].bytes": "(30, 36)",
    "count('needle').total": "2",
    "lines(2, doc='a.log').text": r"'needle 1\n'",
    "span(0, 3).text": "'one'",
    "[c.line for c in chunks(30, by='headings', docs='b.md')]": "[1, 3]",
    "rank('needle heading', k=1)[0].doc": "'b.md'",
    "[r['k'] for r in records('c.jsonl')]": "[1, 2]",
    "[row[0] for row in tree()]": "['a.log', 'b.md', 'c.jsonl']",
    "cite(search('needle')[1])": "[c1]",
    "quote('needle  1 three').line, quote('needle 4 three')": "(2, None)",
}


def test_each_function_works_and_the_host_verifies_what_is_cited(server: ContainerServer) -> None:
    """An invented quote is refused, and the session goes on."""
    paths = []
    for name, text in FILES.items():
        (server.directory / name).write_text(text, encoding="utf-8")
        paths.append(str(server.directory / name))
    session_id = server.client.data("rlm_init_context", context_paths=paths)["session_id"]
    found = {code: server.client.run(session_id, code)["result"] for code in SAID}
    assert found == SAID
    answer = {"session_id": session_id, "final_text": "It is there [c1]."}
    refused = server.client.call("rlm_finalize", **answer, quotes=["needle 2\nthree and more"])
    assert json.loads(text_of(refused))["error"]["code"] == "CITATION_MISMATCH"
    final = server.client.data("rlm_finalize", **answer, quotes=["needle 1\nthree"])
    assert [(one["id"], one["status"], one["doc"], one["start_line"]) for one in final["citations"]] == [
        ("c1", "verified", "b.md", 4),
        ("q1", "verified", "a.log", 2),
    ]
