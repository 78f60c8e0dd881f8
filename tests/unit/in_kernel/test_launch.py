"""The command line of a kernel."""

from pathlib import Path

import pytest

from rlm_kernel_mcp.in_kernel.launch import parse_options

NEEDED = ["-f", "c.json", "--policy", "p.json", "--scratch", "/s"]


def test_what_is_not_given_is_absent() -> None:
    options = parse_options(NEEDED)
    assert (options.connection_file, options.policy_file, options.scratch) == (
        Path("c.json"),
        Path("p.json"),
        Path("/s"),
    )
    assert (options.sockets, options.status_fd, options.descriptor_fd, options.owned) == (None, -1, -1, False)
    assert (options.container, options.code, options.notebook) == ("", "", False)
    assert parse_options([*NEEDED, "--notebook"]).notebook


def test_all_that_can_be_given_is_read() -> None:
    more = ["--owned", "--sockets", "/k", "--status-fd", "3", "--descriptor-fd", "4", "--container", "a", "--code", "b"]
    options = parse_options([*more, *NEEDED])
    assert (options.sockets, options.status_fd, options.descriptor_fd, options.owned) == (Path("/k"), 3, 4, True)
    assert (options.container, options.code) == ("a", "b")


@pytest.mark.parametrize("wrong", [["--sokets", "/k"], ["--sockets"], ["c.json"]])
def test_what_cannot_be_read_is_refused_by_name(wrong: list[str]) -> None:
    with pytest.raises(
        SystemExit, match=rf"rlm-kernel: '{wrong[0]}' is not an option, or has no value; there are -f, "
    ):
        parse_options([*NEEDED, *wrong])


def test_a_kernel_without_a_policy_or_a_connection_file_does_not_start() -> None:
    for given in (NEEDED[:2], NEEDED[2:]):
        with pytest.raises(SystemExit, match="must be given"):
            parse_options(given)
