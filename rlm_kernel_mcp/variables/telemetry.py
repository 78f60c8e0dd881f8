"""Whether spans of a user's sessions go to a collector, where that is, and whether texts go along: consent again.

Is: one setting of ours (`RLM_OTEL`) and OpenTelemetry's own variables, from a client's environment, checked. Is not: a
span, nor any of OpenTelemetry (`telemetry/`). Above: `settings.py`. Below: `subcalls.py`.

The consent is ours alone: many programs set OpenTelemetry's variables for all that they start, and mean themselves.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import unquote

from rlm_kernel_mcp.errors import InvalidInput
from rlm_kernel_mcp.variables.subcalls import Secret, parts_of_address

OF_ALL: Final = "OTEL_EXPORTER_OTLP_"
OF_TRACES: Final = f"{OF_ALL}TRACES_"
HEADERS: Final = f"{OF_ALL}HEADERS"
DEFAULT_URL: Final = "http://localhost:4318"
PATH: Final = "v1/traces"
PROTOCOL: Final = "http/protobuf"
SERVICE: Final = "rlm-kernel-mcp"
TIMEOUT_S: Final = 10.0
DELAY_MS: Final = 5_000
COMPRESSIONS: Final = ("none", "gzip", "deflate")
SAMPLERS: Final = tuple(
    f"{parent}{which}" for parent in ("", "parentbased_") for which in ("always_on", "always_off", "traceidratio")
)
_HEADER_NAME: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
WRONG: Final = "Correct the setting, or unset RLM_OTEL."


@dataclass(frozen=True, slots=True)
class TelemetrySettings:
    """What a client's user has switched on. As it stands here: nothing."""

    is_on: bool = False
    has_texts: bool = False
    """Whether code, output, questions and answers go along."""
    url: str = field(default="", repr=False)
    """It may hold a name and a password."""
    headers: Secret | None = None
    """As the variable has them; they may hold a key."""
    timeout_s: float = TIMEOUT_S
    delay_ms: int = DELAY_MS
    """For how long spans are collected before they are sent."""
    compression: str = "none"
    ca_file: str = ""
    client_key_file: str = ""
    client_certificate_file: str = ""
    sampler: str = "parentbased_always_on"
    ratio: float = 1.0
    resource: tuple[tuple[str, str], ...] = ()
    """What the collector is told of this program, beside its name and version."""


NO_TELEMETRY: Final = TelemetrySettings()


def load_telemetry_settings(values: Mapping[str, str], environ: Mapping[str, str]) -> TelemetrySettings:
    """What a client has set. Unless it is switched on nothing of OpenTelemetry's variables is read.

    Args:
        values: those of the table's variables, known to be among their choices.
        environ: the client's environment, for OpenTelemetry's own variables.

    Raises:
        InvalidInput: one of those is wrong, or asks for what cannot be had.
    """
    wanted = values.get("RLM_OTEL", "off")
    if wanted == "off" or environ.get("OTEL_SDK_DISABLED", "").strip().lower() == "true":
        return NO_TELEMETRY
    if (exporter := environ.get("OTEL_TRACES_EXPORTER", "").strip() or "otlp") == "none":
        return NO_TELEMETRY
    if exporter != "otlp":  # `console` would write between the messages of MCP
        raise InvalidInput(f"OTEL_TRACES_EXPORTER={exporter!r}: spans go out by otlp, or none.", WRONG)
    variable, protocol = _of_traces(environ, "PROTOCOL")
    if protocol not in ("", PROTOCOL):
        raise InvalidInput(f"{variable}={protocol!r}: spans go out by {PROTOCOL} alone.", WRONG)
    variable, headers = _of_traces(environ, "HEADERS")
    headers_of(headers, variable)
    sampler, ratio = _sampler(environ)
    return TelemetrySettings(
        is_on=True,
        has_texts=wanted == "texts",
        url=_url(environ),
        headers=Secret(headers) if headers else None,
        timeout_s=_seconds(*_of_traces(environ, "TIMEOUT")),
        delay_ms=_delay_ms(environ.get("OTEL_BSP_SCHEDULE_DELAY", "").strip()),
        compression=_compression(*_of_traces(environ, "COMPRESSION")),
        ca_file=_of_traces(environ, "CERTIFICATE")[1],
        client_key_file=_of_traces(environ, "CLIENT_KEY")[1],
        client_certificate_file=_of_traces(environ, "CLIENT_CERTIFICATE")[1],
        sampler=sampler,
        ratio=ratio,
        resource=_resource(environ),
    )


def headers_of(text: str, variable: str = HEADERS) -> dict[str, str]:
    """The headers of the exporter's variable: pairs that commas separate; a value may be written as in an address.

    Here, and not by the SDK: that logs a pair which it does not understand, key and all, and requests one that no
    header can have.

    Raises:
        InvalidInput: one is no header. It is not said which: it may hold a key.
    """
    found: dict[str, str] = {}
    for pair in filter(None, map(str.strip, text.split(","))):
        name, sign, value = (unquote(part).strip() for part in pair.partition("="))
        if not sign or not _HEADER_NAME.fullmatch(name) or not (value.isascii() and value.isprintable()):
            what = "a list of name=value that commas separate, all of it printable ASCII"
            raise InvalidInput(f"{variable} is not {what}.", WRONG)
        found[name.lower()] = value
    return found


def _of_traces(environ: Mapping[str, str], name: str) -> tuple[str, str]:
    """A variable of the exporter, by its name for traces or else for all signals: which it is, and what it says."""
    own, shared = OF_TRACES + name, OF_ALL + name
    if text := environ.get(own, "").strip():
        return own, text
    return shared, environ.get(shared, "").strip()


def _url(environ: Mapping[str, str]) -> str:
    variable, text = _of_traces(environ, "ENDPOINT")
    parts = parts_of_address(text or DEFAULT_URL)
    if parts is None:
        raise InvalidInput(f"{variable} is not an address that begins with http:// or https://.", WRONG)
    if parts.query or parts.fragment:  # the exporter logs them where it cannot connect
        raise InvalidInput(
            f"{variable} has more in it than scheme, host, port and path.", f"A key belongs into {HEADERS}."
        )
    return text if variable.startswith(OF_TRACES) else f"{(text or DEFAULT_URL).rstrip('/')}/{PATH}"


def _seconds(variable: str, text: str) -> float:
    if not text:
        return TIMEOUT_S
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds <= 3_600:
        raise InvalidInput(f"{variable}={text!r} is not a number of seconds up to 3600.", WRONG)
    return seconds


def _delay_ms(text: str) -> int:
    if not text:
        return DELAY_MS
    if not text.isascii() or not text.isdigit() or not 1 <= int(text[:12]) <= 3_600_000:
        raise InvalidInput(f"OTEL_BSP_SCHEDULE_DELAY={text!r} is not a number of milliseconds up to 3600000.", WRONG)
    return int(text)


def _compression(variable: str, text: str) -> str:
    if (found := text.lower() or "none") not in COMPRESSIONS:
        known = ", ".join(COMPRESSIONS)
        raise InvalidInput(f"{variable}={text!r} is not known; known values: {known}.", WRONG)
    return found


def _sampler(environ: Mapping[str, str]) -> tuple[str, float]:
    name = environ.get("OTEL_TRACES_SAMPLER", "").strip().lower() or NO_TELEMETRY.sampler
    if name not in SAMPLERS:
        known = ", ".join(SAMPLERS)
        raise InvalidInput(f"OTEL_TRACES_SAMPLER={name!r} is not known; known values: {known}.", WRONG)
    text = environ.get("OTEL_TRACES_SAMPLER_ARG", "").strip() or "1"
    try:
        ratio = float(text)
    except ValueError:
        ratio = -1.0
    if not 0 <= ratio <= 1:
        raise InvalidInput(f"OTEL_TRACES_SAMPLER_ARG={text!r} is not a number from 0 to 1.", WRONG)
    return name, ratio


def _resource(environ: Mapping[str, str]) -> tuple[tuple[str, str], ...]:
    """As OpenTelemetry has it: pairs that commas separate; a value may be written as in an address."""
    pairs = (pair.partition("=") for pair in environ.get("OTEL_RESOURCE_ATTRIBUTES", "").split(","))
    found = {name.strip(): unquote(value.strip()) for name, sign, value in pairs if sign and name.strip()}
    name = environ.get("OTEL_SERVICE_NAME", "").strip() or found.get("service.name") or SERVICE
    return tuple((found | {"service.name": name}).items())
