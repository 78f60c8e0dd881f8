"""The settings say what they mean, and what in them is probably a mistake."""

from __future__ import annotations

import json
import os
import pwd
from contextlib import closing
from pathlib import Path
from typing import Final
from unittest.mock import patch

import pytest

from rlm_kernel_mcp.errors import InvalidInput
from rlm_kernel_mcp.kernel.placement.kernelspec import POLICY_FILE, locked_kernelspec
from rlm_kernel_mcp.policy import load_policy
from rlm_kernel_mcp.settings import doubts, load_settings
from rlm_kernel_mcp.store.store import Store
from rlm_kernel_mcp.variables.table import TABLE


def doubted(**environ: str) -> list[str]:
    return list(doubts(environ, load_settings(Path.cwd(), environ)))


@pytest.mark.parametrize(
    ("variable", "nearest"),
    [
        ("RLM_CONTEXT_ROOT", "RLM_CONTEXT_ROOTS"),
        ("RLM_IMPORT", "RLM_IMPORTS"),
        ("RLM_MEMORY_LIMIT", "RLM_MEMORY_LIMIT_MB"),
        ("RLM_MAX_SESSION", "RLM_MAX_SESSIONS"),
        ("RLM_SESSIONS_MAX", "RLM_MAX_SESSIONS"),
        ("RLM_ROOTS", "RLM_CONTEXT_ROOTS"),
        ("RLM_MEMORY", "RLM_MEMORY_LIMIT_MB"),
        ("RLM_MODE", "RLM_SANDBOX_MODE"),
        ("rlm_imports", "RLM_IMPORTS"),
        ("Rlm_State_Dir", "RLM_STATE_DIR"),
    ],
)
def test_a_misspelt_variable_is_named_with_the_nearest_known_one(variable: str, nearest: str) -> None:
    """It would change nothing, and nobody would know why."""
    assert doubted(**{variable: "1"}) == [f"{variable} is set, but there is no such setting; did you mean {nearest}?"]


@pytest.mark.parametrize("variable", ["RLM_XYZZY", "RLM_GREETING", "RLM_WEATHER", "RLM_TELEMETRY", "RLM_"])
def test_a_variable_that_is_like_none_is_named_with_all_that_are_known(variable: str) -> None:
    """And what other programs set is nobody's mistake."""
    (sentence,) = doubted(**{variable: "1", "PATH": "/bin", "RLM_FORBID_SKIPS": "1"})
    assert sentence.startswith(f"{variable} is set, but there is no such setting; the known ones are RLM_CONTEXT_ROOTS")


def test_a_module_that_is_not_installed_is_named() -> None:
    """Without importing anything: only the first part of a dotted name is looked for."""
    sentences = doubted(RLM_IMPORTS="json,nosuchmodule, alsonone.sub ,pytest")
    assert [sentence.split(",")[0] for sentence in sentences] == [
        "RLM_IMPORTS names 'nosuchmodule'",
        "RLM_IMPORTS names 'alsonone.sub'",
    ]
    assert "no module 'alsonone' is installed" in sentences[1]


def test_an_image_has_other_modules_than_this_machine() -> None:
    """In container mode nothing is known of them here."""
    assert doubted(RLM_IMPORTS="nosuchmodule", RLM_SANDBOX_MODE="container") == []


def test_settings_as_they_should_be_raise_no_doubt(tmp_path: Path) -> None:
    """Every known variable may be set."""
    assert doubted(RLM_CONTEXT_ROOTS=str(tmp_path), RLM_IMPORTS="json", RLM_KERNEL="rlm-python") == []


def test_a_policy_from_before_contexts_were_mapped_has_the_defaults(tmp_path: Path) -> None:
    """A kernelspec that a user installed with an older version, and has changed; also where some of it is set."""
    shipped = json.loads((locked_kernelspec("rlm-python") / POLICY_FILE).read_text())
    old = tmp_path / POLICY_FILE
    whole = load_policy(locked_kernelspec("rlm-python") / POLICY_FILE)
    old.write_text(json.dumps({part: values for part, values in shipped.items() if part != "context"}))
    assert load_policy(old) == whole
    applied = load_policy(old).with_settings(import_policy=None, imports=(), memory_limit_mb=None)
    assert applied.model_dump()["context"] == shipped["context"]  # which is what a kernel is given
    old.write_text(json.dumps(shipped | {"context": {"in_memory_mb": 7}}))
    assert load_policy(old).context == whole.context.model_copy(update={"in_memory_mb": 7})
    old.write_text(json.dumps(shipped | {"context": {"in_memory": 7}}))
    with pytest.raises(InvalidInput, match=r"'context\.in_memory'"):
        load_policy(old)


def test_the_defaults_are_those_of_the_policy_beside_the_kernelspec() -> None:
    """The policy's hold where nothing is set; the others are what is told of them."""
    policy, defaults = load_policy(locked_kernelspec("rlm-python") / POLICY_FILE), load_settings("/", {"HOME": "/"})
    assert (defaults.import_policy, defaults.memory_limit_mb) == (policy.imports.mode, policy.limits.memory_mb)
    told = {row.variable: row.default.removeprefix("the kernelspec's: ") for row in TABLE}
    assert told["RLM_IMPORT_POLICY"] == policy.imports.mode
    assert told["RLM_MEMORY_LIMIT_MB"] == str(policy.limits.memory_mb)
    assert told["RLM_MAX_SESSIONS"] == str(defaults.max_sessions)
    assert told["RLM_IDLE_TIMEOUT_S"] == str(defaults.idle_timeout_s)
    assert (told["RLM_KERNEL"], told["RLM_SANDBOX_MODE"]) == (defaults.kernel, defaults.sandbox_mode)
    assert told["RLM_SANDBOX_CONTAINER_RUNTIME"] == defaults.container_runtime
    assert told["RLM_SANDBOX_CONTAINER_IMAGE"] == defaults.container_image
    assert told["RLM_SANDBOX_FALLBACK"] == defaults.sandbox_fallback


UNKNOWN: Final = [
    ("RLM_SANDBOX_FALLBACK", "yes", "off, process"),
    ("RLM_IMPORT_POLICY", "all", "allowlist, any"),
    ("RLM_SANDBOX_CONTAINER_RUNTIME", "runc", "docker, podman"),
    ("RLM_MEMORY_LIMIT_MB", "lots", "whole number of MB"),
    ("RLM_MAX_SESSIONS", "0", "whole number of sessions"),
    ("RLM_CLUSTER", "a cluster", "neither auto, nor off, nor the address"),
    ("RLM_IDLE_TIMEOUT_S", "-1", "whole number of seconds"),
    ("RLM_CONTEXT_ROOTS", "/no/such/directory", "/no/such/directory"),
]


@pytest.mark.parametrize(("variable", "value", "known"), [("RLM_SANDBOX_MODE", "none", "process, container"), *UNKNOWN])
def test_an_unknown_value_is_refused_with_the_known_ones(variable: str, value: str, known: str) -> None:
    """Given by variable or by option; `tests/mcp/server/test_start.py` has it of a server."""
    for environ, overrides in ({variable: value}, None), ({}, {variable: value}):
        with pytest.raises(InvalidInput) as refused:
            load_settings(Path.cwd(), environ, overrides)
        assert variable in refused.value.message
        assert known in refused.value.message


@pytest.mark.parametrize(
    ("said", "where"),
    [("auto", "auto"), ("off", ""), ("", ""), ("10.0.0.1:6379", "10.0.0.1:6379"), ("[::1]:1", "[::1]:1")],
)
def test_a_cluster_is_one_or_none(said: str, where: str) -> None:
    assert load_settings("/", {"HOME": "/", "RLM_CLUSTER": said}).cluster == where


def test_a_context_root_that_is_no_folder_is_refused() -> None:
    """The server would refuse every path, one by one."""
    with pytest.raises(InvalidInput, match="RLM_CONTEXT_ROOTS names '/nonexistent', which is not a directory"):
        load_settings(Path.cwd(), {"RLM_CONTEXT_ROOTS": "/nonexistent"})


@pytest.mark.parametrize("given", ["relative/state", ".", ""])
def test_a_relative_xdg_folder_is_ignored_as_the_specification_says(given: str) -> None:
    """Else the sessions would be other ones in each working directory."""
    found = load_settings("/", {"HOME": "/h", "XDG_STATE_HOME": given}).state_dir
    assert found == Path("/h/.local/state/rlm-kernel-mcp")


@pytest.mark.parametrize("given", ["x", "./x", ":memory:", "file:x?mode=memory", " ", "a/b"])
def test_a_relative_state_directory_is_one_below_the_working_directory(given: str, tmp_path: Path) -> None:
    """Named in full, so that a command that runs elsewhere says where it looked; and a place, whatever its name."""
    found = load_settings(tmp_path, {"RLM_STATE_DIR": given}, {}).state_dir
    assert found == tmp_path / given
    with closing(Store.open(found)) as store:
        assert store.problem is None
    assert (tmp_path / given / "sessions.db").is_file()


def test_settings_are_a_client_s_and_nothing_of_this_process_s(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A server may have clients with other directories and environments than its own: none of it shows through."""
    theirs, home = tmp_path / "theirs", tmp_path / "home"
    for directory in (theirs / "logs", home / "data"):
        directory.mkdir(parents=True)
    environ = {"HOME": str(home), "RLM_CONTEXT_ROOTS": "logs:~/data", "TZ": "Asia/Tokyo", "JUPYTER_PATH": "/specs"}
    before = load_settings(theirs, environ)
    with monkeypatch.context() as ours:
        (tmp_path / "logs").mkdir()
        ours.chdir(tmp_path)
        for name in ("HOME", "XDG_STATE_HOME", "TZ", "JUPYTER_PATH", "RLM_STATE_DIR", "RLM_IMPORTS"):
            ours.setenv(name, "/nonexistent")
        assert load_settings(theirs, environ) == before
    assert before.context_roots == (theirs / "logs", home / "data")
    assert (before.working_dir, before.home, before.time_zone) == (theirs, str(home), "Asia/Tokyo")
    assert before.state_dir == home / ".local/state/rlm-kernel-mcp"
    assert dict(before.jupyter) == {"HOME": str(home), "JUPYTER_PATH": "/specs"}


def test_without_a_home_in_the_environment_it_is_the_user_s() -> None:
    """As the user database has it, and not as this process's environment does."""
    with patch.dict(os.environ, HOME="/nonexistent"):
        assert load_settings("/", {}).home == pwd.getpwuid(os.getuid()).pw_dir


def test_a_working_directory_is_an_absolute_path() -> None:
    """A relative one would begin where this process happens to be."""
    with pytest.raises(InvalidInput, match="'here' is not an absolute path"):
        load_settings("here", {})


def test_a_root_in_the_home_of_nobody_is_refused() -> None:
    """With the setting's name."""
    with pytest.raises(InvalidInput, match="RLM_CONTEXT_ROOTS names '~no-such-user/x': there is no such home"):
        load_settings("/", {"RLM_CONTEXT_ROOTS": "~no-such-user/x"})
