"""The options of `serve` as a front reads them: each is a variable, and what they mean is the host's to say.

Is: names and values. Is not: their check, nor help (`cli.py`). `front.py` loads this file where it is given options.
"""

TYPE_CHECKING = False
if TYPE_CHECKING:
    from rlm_kernel_mcp.front.front import NoHost


def with_options(environ: dict[str, str], argv: list[str]) -> tuple[dict[str, str], list[str]]:
    """The environment with the options of `serve` above it, and the variables that those are. Raises: NoHost."""
    environ, given, rest = dict(environ), [], iter(argv)
    for word in rest:
        name, equals, value = word.partition("=")
        if not equals:
            value = next(rest, "--")
        if not name.startswith("--") or len(name) < 3 or (not equals and value.startswith("-")):
            raise NoHost(f"a host takes no option {word}")
        given.append("RLM_" + name[2:].upper().replace("-", "_"))
        environ[given[-1]] = value
    return environ, given
