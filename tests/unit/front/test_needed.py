"""A host hears of keys and proxies where the client's backend needs them, and of nobody's else."""

from __future__ import annotations

import pytest

from rlm_kernel_mcp.front.front import PASSED_ON
from rlm_kernel_mcp.front.needed import NEEDED, heard
from rlm_kernel_mcp.host.entry.handshake import Asked
from rlm_kernel_mcp.variables.claude import PASSED

ENVIRON = {
    "HOME": "/h",
    "OPENAI_API_KEY": "sk-canary",
    "OPENAI_BASE_URL": "https://x/v1",
    "AZURE_OPENAI_ENDPOINT": "https://y",
    "https_proxy": "http://p",
    "NO_PROXY": "z",
    "SSL_CERT_FILE": "/c",
    "ANTHROPIC_API_KEY": "other",
    "PATH": "/bin",
}


@pytest.mark.parametrize("backend", ["", "none", "nonsense"])
def test_without_a_backend_no_key_is_passed_on_nor_heard(backend: str) -> None:
    """Whatever the client has in its environment, and whatever a front says."""
    environ = ENVIRON | ({"RLM_SUBCALL_BACKEND": backend} if backend else {})
    passed = {name for name in environ if name.startswith(heard(PASSED_ON, environ))}
    assert passed == {"HOME", *(["RLM_SUBCALL_BACKEND"] if backend else [])}
    asked = Asked("serve", "", "", "", "", tuple(f"{name}={value}" for name, value in environ.items()))
    assert set(asked.environ) == passed


def test_what_a_backend_needs_is_passed_on_and_is_in_no_text_of_the_request() -> None:
    """And not what it does not need."""
    environ = ENVIRON | {"RLM_SUBCALL_BACKEND": "openai"}
    words = tuple(f"{name}={value}" for name, value in environ.items() if name.startswith(heard(PASSED_ON, environ)))
    asked = Asked("serve", "", "", "", "", words)
    assert asked.environ == {name: environ[name] for name in environ.keys() - {"ANTHROPIC_API_KEY", "PATH"}}
    assert "sk-canary" not in repr(asked)


def test_what_claude_needs_is_passed_on_and_nothing_of_the_other_backend() -> None:
    """Where the program is, how it authenticates and where its endpoint is."""
    environ = ENVIRON | {"RLM_SUBCALL_BACKEND": "claude", "CLAUDE_CODE_OAUTH_TOKEN": "t", "AWS_SECRET_ACCESS_KEY": "no"}
    passed = {name for name in environ if name.startswith(heard(PASSED_ON, environ))}
    wanted = {"HOME", "PATH", "ANTHROPIC_API_KEY", "CLAUDE_CODE_OAUTH_TOKEN", "RLM_SUBCALL_BACKEND"}
    assert passed == wanted | {"https_proxy", "NO_PROXY", "SSL_CERT_FILE"}
    assert set(NEEDED["claude"]) == {*PASSED, "PATH"}
