"""Every case of the corpus once more where code may ask a model: the kernel has one socket more, and no way out."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest

from rlm_kernel_mcp.in_kernel.walls import namespaces
from tests.escape.attack_server import AttackServer, fallen, opened, unlocked
from tests.escape.cases import Case, read_corpus
from tests.escape.verdicts import tried

NOBODY_LISTENS = {
    "RLM_SUBCALL_BACKEND": "openai",
    "RLM_SUBCALL_MODEL": "m",
    "OPENAI_BASE_URL": "http://127.0.0.1:9/v1",
    "OPENAI_API_KEY": "sk-canary",
}


@pytest.fixture(scope="module")
def attack_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AttackServer]:
    """One server whose sessions have somebody to ask, every module importable."""
    with opened(tmp_path_factory.mktemp("asking"), "any", **NOBODY_LISTENS) as made:
        yield made


@pytest.mark.slow
def test_a_kernel_that_may_ask_has_the_same_walls_and_one_socket_more(attack_server: AttackServer) -> None:
    """An unnamed one, whose other end the host holds; each thread of it is locked, those of the channel too."""
    code = "got = llm_query_batched(['p'])[0]; got.code if isinstance(got, SubcallError) else got"
    assert attack_server.client.run(attack_server.session, code)["result"] not in ("'off'", None)
    assert fallen(attack_server) == ({"namespaces", "scratch_quota"} if namespaces.refusal() else set())
    assert unlocked(attack_server) == []
    connections = attack_server.kernel().net_connections("all")
    assert {connection.family for connection in connections} == {socket.AF_UNIX}


@pytest.mark.slow
@pytest.mark.parametrize("case", read_corpus(), ids=lambda case: case.name)
def test_nor_where_code_may_ask_a_model(attack_server: AttackServer, case: Case) -> None:
    """Judged as in `test_corpus.py`."""
    assert tried(attack_server, case)[1] == [], case.must
