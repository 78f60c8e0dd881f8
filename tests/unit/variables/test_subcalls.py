"""Who answers code's questions is the user's to say, in the environment alone, and what is missing is said at once."""

from __future__ import annotations

from pathlib import Path

import pytest

from rlm_kernel_mcp.errors import InvalidInput
from rlm_kernel_mcp.session.answering.backends.key import blacked_out, key_of
from rlm_kernel_mcp.session.answering.claude.claude_cli import ClaudeBackend
from rlm_kernel_mcp.session.callers.profiles import profile_of
from rlm_kernel_mcp.settings import Settings, doubts, load_settings
from rlm_kernel_mcp.variables.subcalls import NO_SUBCALLS, OF_CLAUDE, Secret, SubcallSettings
from rlm_kernel_mcp.variables.table import TABLE

KEY = "sk-canary-0123456789"
OPENAI = {"RLM_SUBCALL_BACKEND": "openai", "RLM_SUBCALL_MODEL": "m", "OPENAI_API_KEY": KEY}


def loaded(**environ: str) -> Settings:
    return load_settings("/", {"HOME": "/h"} | environ)


def subcalls(**environ: str) -> SubcallSettings:
    return loaded(**(OPENAI | environ)).subcalls


@pytest.mark.parametrize("environ", [{}, {"RLM_SUBCALL_BACKEND": "none"}], ids=["agent", "none"])
def test_no_key_is_read_unless_an_endpoint_is_named(environ: dict[str, str]) -> None:
    """Two clients that have different keys and name no endpoint are served alike."""
    other = loaded(OPENAI_API_KEY=KEY, OPENAI_BASE_URL="nonsense", HTTPS_PROXY="x", **environ)
    assert other == loaded(OPENAI_API_KEY="another", **environ)
    assert not other.subcalls.is_open_world


def test_kernels_can_check_a_schema_where_anybody_answers() -> None:
    assert loaded(RLM_SUBCALL_BACKEND="none").subcalls == NO_SUBCALLS
    assert loaded(RLM_SUBCALL_BACKEND="none").of_kernel().preload == ()
    assert loaded(**OPENAI).of_kernel().preload == loaded().of_kernel().preload == ("jsonschema", "referencing")


def test_an_agent_that_answers_itself_needs_no_key_and_has_a_limit_of_its_own() -> None:
    """Nothing of an endpoint is read; nothing leaves, and kernels can check a schema. It is who answers by default."""
    assert loaded().subcalls == loaded(RLM_SUBCALL_BACKEND="agent").subcalls
    own = loaded(OPENAI_API_KEY=KEY, RLM_SUBCALL_MODEL="m", OPENAI_BASE_URL="nonsense")
    assert own.subcalls == SubcallSettings("agent", max_subcalls=200)
    assert (own.subcalls.is_answered, own.subcalls.is_open_world) == (True, False)
    assert own.of_kernel().preload == ("jsonschema", "referencing")
    more = loaded(RLM_SUBCALL_BACKEND="agent", RLM_SUBCALL_MAX="900", RLM_SUBCALL_CACHE="off").subcalls
    assert (more.max_subcalls, more.is_cached) == (900, False)
    assert loaded(RLM_SUBCALL_LEASE_S="5").subcalls == SubcallSettings("agent", max_subcalls=200, lease_s=5)


def test_claude_has_limits_of_its_own_and_is_given_what_it_authenticates_with(tmp_path: Path) -> None:
    """And its dollars need no price, since it says them; a PATH of relative directories is none."""
    environ = {"RLM_SUBCALL_BACKEND": "claude", "ANTHROPIC_API_KEY": KEY, "OPENAI_API_KEY": "sk-other"}
    environ |= {"PATH": f".::bin:{tmp_path}", "NODE_OPTIONS": "--require x", "CLAUDE_CONFIG_DIR": "/c"}
    own = loaded(**environ, RLM_SUBCALL_MAX_USD="3")
    found = own.subcalls
    assert (found.backend, found.where, found.is_answered, found.is_open_world) == (
        "claude",
        "api.anthropic.com",
        True,
        True,
    )
    assert (found.max_subcalls, found.parallel, found.output_tokens, found.max_usd) == (200, 4, 8_000, 3.0)
    assert {name: value.value for name, value in found.environment} == {
        "ANTHROPIC_API_KEY": KEY,
        "ANTHROPIC_BASE_URL": "https://api.anthropic.com",
        "CLAUDE_CONFIG_DIR": "/c",
        "HOME": "/h",
        "PATH": str(tmp_path),
    }
    assert KEY not in repr(own)
    assert profile_of(own) != profile_of(loaded(**environ | {"ANTHROPIC_API_KEY": "another"}, RLM_SUBCALL_MAX_USD="3"))
    assert (found.program(), found.has_program) == (None, False)
    assert "NONE CAN BE ASKED NOW: There is no program `claude`" in ClaudeBackend(found).facts.how
    (sentence,) = doubts({}, own)
    assert sentence == "RLM_SUBCALL_BACKEND=claude: There is no program `claude` in a directory of PATH."
    (tmp_path / "claude").write_text("#!/bin/sh\n")
    (tmp_path / "claude").chmod(0o755)
    assert found.program() == str(tmp_path / "claude")
    assert list(doubts({}, own)) == []
    assert "NONE CAN BE ASKED" not in ClaudeBackend(loaded(**environ).subcalls).facts.how
    more = loaded(**environ, RLM_SUBCALL_MAX="900", RLM_SUBCALL_PARALLEL="8").subcalls
    assert (more.max_subcalls, more.parallel) == (900, 8)
    with pytest.raises(InvalidInput) as refused:
        loaded(**environ, ANTHROPIC_BASE_URL="http://llm.example.com")
    assert "ANTHROPIC_BASE_URL asks llm.example.com without TLS" in refused.value.message


def test_openai_is_asked_by_responses_and_every_other_endpoint_by_chat() -> None:
    """Unless the user says otherwise."""
    own, other = subcalls(), subcalls(OPENAI_BASE_URL="https://llm.example.com:8443/v1/")
    assert (own.api, own.where, own.model, own.parallel) == ("responses", "api.openai.com", "m", 16)
    assert (other.api, other.where, other.url) == ("chat", "llm.example.com:8443", "https://llm.example.com:8443/v1")
    assert subcalls(OPENAI_BASE_URL="https://x/v1", RLM_SUBCALL_API="responses").api == "responses"
    local = subcalls(OPENAI_BASE_URL="http://127.0.0.1:11434/v1", OPENAI_API_KEY="")
    assert (local.key, local.where) == (None, "127.0.0.1:11434")
    assert subcalls(RLM_SUBCALL_MODELS="m, m2 ,m3").models == ("m2", "m3")


@pytest.mark.parametrize(
    ("environ", "words"),
    [
        ({"RLM_SUBCALL_MODEL": ""}, "RLM_SUBCALL_MODEL, which is not set"),
        ({"OPENAI_API_KEY": ""}, "no key for api.openai.com"),
        ({"OPENAI_API_KEY": f"{KEY} {KEY}"}, "does not hold a key"),
        ({"OPENAI_BASE_URL": f"https://user:{KEY}@x/v1"}, "more in it than scheme, host, port and path"),
        ({"OPENAI_BASE_URL": f"https://x/v1?key={KEY}"}, "more in it than scheme, host, port and path"),
        ({"OPENAI_BASE_URL": f"ftp://{KEY}"}, "not the URL of an endpoint"),
        ({"OPENAI_BASE_URL": f"https://[{KEY}"}, "not the URL of an endpoint"),
        ({"OPENAI_BASE_URL": "https://x:99999/v1"}, "not the URL of an endpoint"),
        ({"OPENAI_BASE_URL": "http://llm.example.com/v1"}, "without TLS"),
        ({"OPENAI_BASE_URL": "http://127.0.0.1.example.com/v1"}, "without TLS"),
        ({"AZURE_OPENAI_ENDPOINT": "https://x.azure.example.com"}, "without OPENAI_API_VERSION"),
        ({"RLM_SUBCALL_MAX_USD": "5"}, "needs RLM_SUBCALL_PRICE"),
        ({"RLM_SUBCALL_MAX_USD": "many", "RLM_SUBCALL_PRICE": "1,2"}, "not a sum in dollars"),
        ({"RLM_SUBCALL_PRICE": "1"}, "not two prices"),
        ({"RLM_SUBCALL_PRICE": "1,-2"}, "not two prices"),
        ({"RLM_SUBCALL_PARALLEL": "65"}, "whole number of questions from 1 to 64"),
    ],
)
def test_what_is_wrong_or_missing_is_refused_and_the_refusal_has_no_key(environ: dict[str, str], words: str) -> None:
    """The server does not start, as with every other setting."""
    with pytest.raises(InvalidInput) as refused:
        subcalls(**environ)
    assert words in refused.value.message
    assert KEY not in f"{refused.value.message} {refused.value.next_step}"


def test_plain_http_is_for_this_machine_unless_the_user_says_otherwise() -> None:
    """Nobody else can read that."""
    for url in ("http://localhost:1/v1", "http://127.1.2.3:1/v1", "http://[::1]:1/v1"):
        assert subcalls(OPENAI_BASE_URL=url).url == url
    allowed = subcalls(OPENAI_BASE_URL="http://llm.example.com/v1", RLM_SUBCALL_ALLOW_HTTP="on")
    assert allowed.where == "llm.example.com"


def test_clients_with_other_keys_models_or_ceilings_share_nothing() -> None:
    """A key is part of what makes a registry; it is shown nowhere."""
    one, same = loaded(**OPENAI), loaded(**OPENAI)
    assert profile_of(one) == profile_of(same)
    assert hash(profile_of(one)) == hash(profile_of(same))
    for other in ({"OPENAI_API_KEY": "another-key"}, {"RLM_SUBCALL_MODEL": "m2"}, {"RLM_SUBCALL_DAY_MAX": "1"}):
        assert profile_of(loaded(**(OPENAI | other))) != profile_of(one)
    assert KEY not in repr(one)
    assert "hunter2" not in repr(loaded(**OPENAI, HTTPS_PROXY="http://u:hunter2@x"))
    assert dict(subcalls(https_proxy="a", HTTPS_PROXY="b", NO_PROXY="c").proxies) == {"https": "a", "no": "c"}


def test_a_key_comes_from_a_file_that_is_the_user_s_alone(tmp_path: Path) -> None:
    """Any other is refused, in words that have nothing of it."""
    file = tmp_path / "key"
    settings = subcalls(RLM_SUBCALL_KEY_FILE=str(file), OPENAI_API_KEY="")
    for text, mode, words in (
        (None, 0o600, "cannot be opened"),
        (KEY, 0o640, "can be read by others (mode 0640"),
        (f"{KEY}\nsecond line", 0o600, "does not hold a key"),
        ("", 0o600, "does not hold a key"),
        (KEY * 1_000, 0o600, "not a file with a key"),
    ):
        if text is not None:
            file.write_text(text)
            file.chmod(mode)
        with pytest.raises(InvalidInput) as refused:
            key_of(settings)
        assert words in refused.value.message
        assert KEY not in refused.value.message
    file.write_text(f"{KEY}\n")
    assert key_of(settings) == Secret(KEY)
    assert key_of(subcalls()) == Secret(KEY)


def test_a_key_is_blacked_out_where_it_is_repeated_and_a_short_one_is_a_word() -> None:
    """`ollama` is what some endpoints want for a key."""
    assert blacked_out(f"a {KEY}.", Secret(KEY)) == "a [key]."
    assert blacked_out("ollama", Secret("ollama")) == "ollama"
    assert blacked_out("a", None) == "a"


def test_a_backend_whose_package_is_missing_is_doubted(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first question would fail; the server's log says it at its start."""
    settings = loaded(**OPENAI)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    (sentence,) = doubts({}, settings)
    assert "needs the package openai, which is not installed" in sentence


def test_settings_of_an_endpoint_are_doubted_where_none_is_asked() -> None:
    """Who has forgotten RLM_SUBCALL_BACKEND hears of it, and none of them keeps a server from its start."""
    given = {"RLM_SUBCALL_MODEL": "m", "RLM_SUBCALL_MAX_USD": "1"}
    for environ, backend in ((given, "agent"), (given | {"RLM_SUBCALL_BACKEND": "none"}, "none")):
        (sentence,) = doubts({}, loaded(**environ))
        are_set = "RLM_SUBCALL_MAX_USD, RLM_SUBCALL_MODEL are set, and without use"
        assert sentence == f"{are_set}: RLM_SUBCALL_BACKEND is {backend}, and asks no endpoint."
    assert list(doubts({}, loaded(RLM_SUBCALL_DEPTH="2", RLM_SUBCALL_MAX="10", RLM_SUBCALL_LEASE_S="5"))) == []


def test_the_table_of_settings_names_each_default_that_holds() -> None:
    """`serve --help` shows them: of who answers by default first."""
    told = {row.variable: row.default for row in TABLE}
    assert told["RLM_SUBCALL_MAX"] == f"{loaded().subcalls.max_subcalls}; {subcalls().max_subcalls} of openai"
    assert OF_CLAUDE["RLM_SUBCALL_MAX"] == str(loaded().subcalls.max_subcalls)
    for name, own in (("PARALLEL", subcalls().parallel), ("OUTPUT_TOKENS", subcalls().output_tokens)):
        assert told[f"RLM_SUBCALL_{name}"] == f"{own}; {OF_CLAUDE[f'RLM_SUBCALL_{name}']} of claude"
    assert told["RLM_SUBCALL_LEASE_S"] == str(NO_SUBCALLS.lease_s)
