"""Who answers the questions of a user's sessions: the part of the settings that is consent.

Is: who that is, the endpoint, the key and the ceilings, from a client's variables, checked. Nothing of it can be chosen
by a tool's argument or by code. Is not: a look at the key's file or at the endpoint (`session/answering/backends/`).
Above: `settings.py`. Below: `table.py`, `claude.py`.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final
from urllib.parse import SplitResult, urlsplit

from rlm_kernel_mcp.errors import InvalidInput
from rlm_kernel_mcp.text.home_directory import with_home
from rlm_kernel_mcp.variables.claude import environment_of, program_in
from rlm_kernel_mcp.variables.table import listed, whole

OPENAI_URL: Final = "https://api.openai.com/v1"
ANTHROPIC_URL: Final = "https://api.anthropic.com"
PROXIES: Final = ("HTTPS_PROXY", "HTTP_PROXY", "ALL_PROXY", "NO_PROXY")
"""Read as every other program reads them, also in small letters."""
MILLION: Final = 1_000_000
DEPTH_MAX: Final = 4
"""Of sessions below one another: each level multiplies what one question may begin."""
AGENT_QUESTIONS: Final = 200
"""That an agent answers in a session, where the user names no number: beyond some hundreds an endpoint is better."""
OF_CLAUDE: Final = {"RLM_SUBCALL_MAX": "200", "RLM_SUBCALL_PARALLEL": "4", "RLM_SUBCALL_OUTPUT_TOKENS": "8000"}
"""What holds for `claude` where the user says nothing: each question is a process, and what it thinks counts too."""


class Secret:
    """A text that is shown nowhere: no `repr`, message or log has it, unless somebody asks for `value`."""

    __slots__ = ("value",)

    def __init__(self, value: str) -> None:
        self.value = value

    def __repr__(self) -> str:
        return "Secret()"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and self.value == other.value

    def __hash__(self) -> int:
        return hash(self.value)


@dataclass(frozen=True, slots=True)
class SubcallSettings:
    """What a client's user has switched on. As it stands here: nothing."""

    backend: str = "none"
    model: str = ""
    models: tuple[str, ...] = ()
    """Further ones that code may name."""
    api: str = "responses"
    url: str = ""
    """Of the endpoint; of an Azure resource without its path."""
    azure_version: str = ""
    """Version of Azure's API; empty: it is not Azure's."""
    key: Secret | None = None
    key_file: Path | None = None
    parallel: int = 16
    per_minute: int | None = None
    output_tokens: int = 2_000
    max_subcalls: int = 1_000
    max_tokens: int = 2_000_000
    max_usd: float | None = None
    price_usd: tuple[float, float] | None = None
    """Of a million tokens, in and out."""
    day_max: int = 10_000
    depth: int = 1
    """At which a model answers; above it sessions of their own do."""
    is_cached: bool = True
    lease_s: int = 300
    """How long a question that somebody has taken is shown to nobody else."""
    proxies: tuple[tuple[str, str], ...] = field(default=(), repr=False)
    """By the names that `urllib` has for them. They may hold a password."""
    ca_file: str = ""
    environment: tuple[tuple[str, Secret], ...] = ()
    """Of the program that is asked. It holds keys."""
    has_program: bool = True
    """Whether there was one when these were read."""

    @property
    def is_answered(self) -> bool:
        """Whether anybody answers."""
        return self.backend != "none"

    @property
    def is_open_world(self) -> bool:
        """Whether questions go to an endpoint."""
        return self.backend in ("openai", "claude")

    def program(self) -> str | None:
        """Where the program is that is asked; None: nowhere. It waits for the disk."""
        return program_in(dict(self.environment).get("PATH", Secret("")).value)

    @property
    def where(self) -> str:
        """Host name of the endpoint, with its port if it has one of its own: never a path."""
        found = urlsplit(self.url)
        return f"{found.hostname or ''}{f':{found.port}' if found.port else ''}"


NO_SUBCALLS: Final = SubcallSettings()


def load_subcall_settings(
    values: Mapping[str, str], environ: Mapping[str, str], working_dir: Path, home: str | None
) -> SubcallSettings:
    """What a client has set. Without a backend nothing is read of its keys, and no two clients differ by them.

    Args:
        values: those of the table's variables, known to be among their choices.
        environ: the client's environment, for the endpoint's own variables.
        working_dir: where its relative paths begin.
        home: what `~` stands for.

    Raises:
        InvalidInput: a value is wrong, or one that the backend needs is missing.
    """
    backend = values.get("RLM_SUBCALL_BACKEND", "agent")
    limits = _limits(OF_CLAUDE | dict(values) if backend == "claude" else values)
    price_usd, max_usd = _price(values), _dollars(values, is_told=backend != "openai")
    is_cached = values.get("RLM_SUBCALL_CACHE", "on") == "on"
    if backend == "none":
        return NO_SUBCALLS
    if backend == "agent":
        most = limits["max_subcalls"] if "RLM_SUBCALL_MAX" in values else AGENT_QUESTIONS
        tokens, depth = limits["max_tokens"], limits["depth"]
        own = SubcallSettings("agent", max_subcalls=most, max_tokens=tokens, depth=depth, is_cached=is_cached)
        return replace(own, lease_s=whole(values, "RLM_SUBCALL_LEASE_S", own.lease_s, 1, 86_400, "seconds"))
    model, key_file = values.get("RLM_SUBCALL_MODEL", ""), values.get("RLM_SUBCALL_KEY_FILE")
    common: dict[str, Any] = {
        "backend": backend,
        "model": model,
        "models": tuple(name for name in listed(values, "RLM_SUBCALL_MODELS") if name != model),
        "key_file": working_dir / with_home(key_file, home) if key_file else None,
        "max_usd": max_usd,
        "price_usd": price_usd,
        "is_cached": is_cached,
        **limits,
    }
    if backend == "claude":
        return _claude(values, environ, home, common)
    if not model:
        raise InvalidInput("RLM_SUBCALL_BACKEND=openai needs RLM_SUBCALL_MODEL, which is not set.", "Name the model.")
    url, azure_version = _endpoint(values, environ)
    return SubcallSettings(
        api=values.get("RLM_SUBCALL_API") or ("responses" if url == OPENAI_URL else "chat"),
        url=url,
        azure_version=azure_version,
        key=None if key_file else _key(environ, url, azure_version),
        proxies=_proxies(environ),
        ca_file=environ.get("SSL_CERT_FILE", ""),
        **common,
    )


def _claude(
    values: Mapping[str, str], environ: Mapping[str, str], home: str | None, common: dict[str, Any]
) -> SubcallSettings:
    url = _checked_url("ANTHROPIC_BASE_URL", environ.get("ANTHROPIC_BASE_URL") or ANTHROPIC_URL, values)
    given = environment_of(environ, home) | {"ANTHROPIC_BASE_URL": url}
    environment = tuple((name, Secret(given[name])) for name in sorted(given))
    has_program = program_in(given["PATH"]) is not None
    return SubcallSettings(url=url, environment=environment, has_program=has_program, **common)


def _limits(values: Mapping[str, str]) -> dict[str, Any]:
    return {
        "max_subcalls": whole(values, "RLM_SUBCALL_MAX", 1_000, 0, 100_000, "questions"),
        "max_tokens": whole(values, "RLM_SUBCALL_MAX_TOKENS", 2_000_000, 0, 10_000_000_000, "tokens"),
        "day_max": whole(values, "RLM_SUBCALL_DAY_MAX", 10_000, 0, 10_000_000, "questions"),
        "parallel": whole(values, "RLM_SUBCALL_PARALLEL", 16, 1, 64, "questions"),
        "per_minute": whole(values, "RLM_SUBCALL_RPM", 0, 1, 1_000_000, "questions") or None,
        "depth": whole(values, "RLM_SUBCALL_DEPTH", 1, 1, DEPTH_MAX, "levels"),
        "output_tokens": whole(values, "RLM_SUBCALL_OUTPUT_TOKENS", 2_000, 16, 100_000, "tokens"),
    }


def is_loopback(host: str) -> bool:
    """Whether what goes to a host stays on this machine."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _endpoint(values: Mapping[str, str], environ: Mapping[str, str]) -> tuple[str, str]:
    """The endpoint's URL, and the version of Azure's API where it is Azure's."""
    if azure := environ.get("AZURE_OPENAI_ENDPOINT"):
        version = environ.get("OPENAI_API_VERSION") or environ.get("AZURE_OPENAI_API_VERSION")
        if not version:
            raise InvalidInput("AZURE_OPENAI_ENDPOINT is set without OPENAI_API_VERSION.", "Set that too.")
        return _checked_url("AZURE_OPENAI_ENDPOINT", azure, values), version
    return _checked_url("OPENAI_BASE_URL", environ.get("OPENAI_BASE_URL") or OPENAI_URL, values), ""


def _checked_url(variable: str, url: str, values: Mapping[str, str]) -> str:
    # The value is not repeated: a password in it would stand in the log.
    found = parts_of_address(url)
    if found is None:
        raise InvalidInput(f"{variable} is not the URL of an endpoint, which begins with https://.", "Correct it.")
    if found.username is not None or found.password is not None or found.query or found.fragment:
        raise InvalidInput(
            f"{variable} has more in it than scheme, host, port and path.", "A key belongs into OPENAI_API_KEY."
        )
    host = found.hostname or ""
    may_be_plain = is_loopback(host) or values.get("RLM_SUBCALL_ALLOW_HTTP") == "on"
    if found.scheme == "http" and not may_be_plain:
        raise InvalidInput(
            f"{variable} asks {host} without TLS, so that anyone on the way reads the questions and the key.",
            "Use https, or set RLM_SUBCALL_ALLOW_HTTP=on.",
        )
    return url.rstrip("/")


def parts_of_address(url: str) -> SplitResult | None:
    """Of an address by http or https that names a host, in ASCII without blanks; None: it is none."""
    try:
        found = urlsplit(url)
        is_right = found.scheme in ("http", "https") and bool(found.hostname) and (found.port or 1) > 0
    except ValueError:
        return None
    return found if is_right and url.isascii() and url.isprintable() and " " not in url else None


def _key(environ: Mapping[str, str], url: str, azure_version: str) -> Secret | None:
    """The key in the environment; an endpoint on one's own machine may need none."""
    variable = "AZURE_OPENAI_API_KEY" if azure_version else "OPENAI_API_KEY"
    if environ.get(variable, "").strip():
        return Secret(checked_key(environ[variable], variable))
    if azure_version or url == OPENAI_URL:
        raise InvalidInput(
            f"RLM_SUBCALL_BACKEND=openai has no key for {urlsplit(url).hostname}.",
            f"Set {variable}, or RLM_SUBCALL_KEY_FILE.",
        )
    return None


def checked_key(text: str, whose: str) -> str:
    """A key without the blanks around it.

    Raises:
        InvalidInput: it cannot be one. The message does not have it.
    """
    key = text.strip()
    if not key or not key.isascii() or not key.isprintable() or " " in key:
        raise InvalidInput(f"{whose} does not hold a key: one line of ASCII without blanks.", "Correct it.")
    return key


def _price(values: Mapping[str, str]) -> tuple[float, float] | None:
    parts = listed(values, "RLM_SUBCALL_PRICE")
    if not parts:
        return None
    numbers = [_number(part) for part in parts]
    if len(numbers) != 2 or None in numbers:
        raise InvalidInput(
            f"RLM_SUBCALL_PRICE={values['RLM_SUBCALL_PRICE']!r} is not two prices in dollars a million tokens: in,out.",
            "Correct the setting.",
        )
    return numbers[0] or 0.0, numbers[1] or 0.0


def _dollars(values: Mapping[str, str], *, is_told: bool) -> float | None:
    """`is_told`: the backend says itself what a question has cost, or has no use for it."""
    text = values.get("RLM_SUBCALL_MAX_USD")
    if text is None:
        return None
    number = _number(text)
    if number is None:
        raise InvalidInput(f"RLM_SUBCALL_MAX_USD={text!r} is not a sum in dollars.", "Correct the setting.")
    if not is_told and not values.get("RLM_SUBCALL_PRICE"):
        raise InvalidInput("RLM_SUBCALL_MAX_USD needs RLM_SUBCALL_PRICE to count by, which is not set.", "Set it too.")
    return number


def _number(text: str) -> float | None:
    """A price or a sum; None where it is none."""
    is_plain = text.isascii() and text.replace(".", "", 1).isdigit() and len(text) <= 12
    return float(text) if is_plain else None


def _proxies(environ: Mapping[str, str]) -> tuple[tuple[str, str], ...]:
    found = {}
    for name in PROXIES:
        if value := environ.get(name.lower()) or environ.get(name):
            found[name.removesuffix("_PROXY").lower()] = value
    return tuple(sorted(found.items()))
