"""What a host hears of a client's keys and proxies: where a backend for questions or a collector needs them alone.

Is: names, for both ends. Is not: what they mean (`variables/subcalls.py`, `variables/telemetry.py`). `front.py` loads
this file where a backend or spans are set.
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


OF_SPANS = ("OTEL_",)


def heard(always: "tuple[str, ...]", environ: "dict[str, str]") -> "tuple[str, ...]":
    """How the variables begin of which a host hears. `always`: those of every client."""
    more = OF_SPANS if environ.get("RLM_OTEL") in ("on", "texts") else ()
    return always + NEEDED.get(environ.get("RLM_SUBCALL_BACKEND", ""), ()) + more
