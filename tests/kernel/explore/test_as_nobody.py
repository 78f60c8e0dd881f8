"""The exploring functions and the check of citations, with a server of an ordinary user, in each tier."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator

import pytest

from tests.escape.walls.cages import Kind
from tests.kernel.clients.test_one_kernel_for_both import as_user
from tests.mcp.line_client import LineClient, text_of
from tests.rights import NOBODY, place_of_server
from tests.soaks.corpus import TIERS

pytestmark = pytest.mark.slow


@pytest.fixture(params=TIERS)
def client(request: pytest.FixtureRequest) -> Iterator[LineClient]:
    """As root it is nobody's server, else that of who runs the tests; its files are its own."""
    uid = NOBODY if os.geteuid() == 0 else None
    with place_of_server(uid, "rlm-nobody-") as work:
        (work / "a.txt").write_text("one\nthe needle ✓ stands here\nthree\n", encoding="utf-8")
        (work / "a.txt").chmod(0o444)
        argv = (*as_user(Kind(request.param, "nobody", uid)), *TIERS[request.param])
        found = LineClient(work, {"RLM_CONTEXT_ROOTS": str(work)}, argv)
        found.initialize()
        try:
            yield found
        finally:
            found.kill()


def test_what_is_found_and_cited_is_the_same_without_a_right(client: LineClient) -> None:
    """By RE2, by words, by rank; an invented quote is refused."""
    session_id = client.data("rlm_init_context", context_paths=["a.txt"])["session_id"]
    said = {
        r"[(h.line, h.bytes) for h in search(r'needle \W', regex=True)]": "[(2, (8, 18))]",
        "count('e').total, lines(-1).text, rank('needle', k=1)[0].line": r"(9, 'three\n', 1)",
        "cite(search('needle')[0]), quote('needle ✓  stands').line": "([c1], 2)",
    }
    assert {code: client.run(session_id, code)["result"] for code in said} == said
    answer = {"session_id": session_id, "final_text": "It is there [c1]."}
    refused = client.call("rlm_finalize", **answer, quotes=["the noodle ✓ stands here"])
    (wrong,) = json.loads(text_of(refused))["error"]["citations"]
    assert (wrong["status"], wrong["nearest"]["start_line"]) == ("near", 2)
    final = client.data("rlm_finalize", **answer, quotes=["the needle ✓ stands here"])
    assert [(one["status"], one["start_line"]) for one in final["citations"]] == [("verified", 2)] * 2
