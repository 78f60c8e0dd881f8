"""What a host hears of a client's keys and proxies: where a backend for questions needs them, and never else.

Is: names, for both ends. Is not: what they mean (`variables/subcalls.py`). `front.py` loads this file where a backend
is set.
"""

NEEDED = {
    "openai": (
        "OPENAI_API_KEY",
        "OPENAI_BASE_URL",
        "OPENAI_API_VERSION",
        "AZURE_OPENAI_",
        "HTTPS_PROXY",
        "HTTP_PROXY",
        "ALL_PROXY",
        "NO_PROXY",
        "https_proxy",
        "http_proxy",
        "all_proxy",
        "no_proxy",
        "SSL_CERT_FILE",
    ),
    "claude": (
        "PATH",
        "ANTHROPIC_API_KEY",
        "ANTHROPIC_AUTH_TOKEN",
        "ANTHROPIC_BASE_URL",
        "ANTHROPIC_CUSTOM_HEADERS",
        "CLAUDE_CODE_OAUTH_TOKEN",
        "CLAUDE_CONFIG_DIR",
        "NODE_EXTRA_CA_CERTS",
        "HTTPS_PROXY",
        "HTTP_PROXY",
        "ALL_PROXY",
        "NO_PROXY",
        "https_proxy",
        "http_proxy",
        "all_proxy",
        "no_proxy",
        "SSL_CERT_FILE",
    ),
}


def heard(always: "tuple[str, ...]", environ: "dict[str, str]") -> "tuple[str, ...]":
    """How the variables begin of which a host hears. `always`: those of every client."""
    return always + NEEDED.get(environ.get("RLM_SUBCALL_BACKEND", ""), ())
