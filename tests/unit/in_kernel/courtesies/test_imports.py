"""The session's `__import__`, its facades and its builtins, without a shell."""

from __future__ import annotations

import ast
import datetime as dt
import io
import json
import math
import os
import pickle
import types
from pathlib import Path
from typing import Any

import pytest

from rlm_kernel_mcp.in_kernel.courtesies.builtins_policy import (
    LEADS_OUT,
    AttributeRefused,
    BuiltinRefused,
    refuse_attributes,
    restricted_builtins,
    scratch_open,
)
from rlm_kernel_mcp.in_kernel.courtesies.imports import ImportRefused, Imports, allowed_names


def run(code: str, *modules: str, scratch: str = "/nowhere") -> dict[str, Any]:
    """Run code under an allowlist; returns its namespace."""
    imports = Imports(modules, scratch)
    namespace: dict[str, Any] = {"__builtins__": restricted_builtins(scratch, imports.import_, imports.reveal)}
    exec(code, namespace)
    return namespace


def test_the_modules_that_may_be_imported_are_listed() -> None:
    """Contract: `imports` of rlm_init_context."""
    assert allowed_names({"mode": "allowlist", "modules": ["re", "json"]}) == ["json", "re"]
    assert allowed_names({"mode": "any", "modules": ["re"]}) == ["*"]


def test_an_empty_allowlist_refuses_every_import() -> None:
    """Policy: an empty list means none of them."""
    with pytest.raises(ImportRefused, match="'math' is refused"):
        run("import math")


@pytest.mark.parametrize(
    ("code", "words"),
    [
        (
            "import os.path\nos.getcwd",
            "module 'os' has no attribute 'getcwd' in this session, whose policy admits os.path",
        ),
        (
            "import sys\nsys.modules",
            "module 'sys' has no attribute 'modules' in this session: the policy leaves that name",
        ),
        ("import sys\nsys.nothing", "module 'sys' has no attribute 'nothing'$"),
    ],
)
def test_a_name_that_a_facade_has_not_is_refused_in_true_words(code: str, words: str) -> None:
    """`os.getcwd` is public, and `sys.nothing` is nowhere."""
    with pytest.raises(AttributeError, match=words):
        run(code, "os.path", "sys")


def test_functions_and_classes_of_a_facade_are_the_real_ones() -> None:
    """Ours: identity, `isinstance` and pickling by reference must not notice the facade."""
    names = run("import json, datetime\nfrom math import *", "json", "datetime", "math")
    assert names["json"].JSONDecodeError is json.JSONDecodeError
    assert names["datetime"].datetime is dt.datetime
    assert names["sqrt"] is math.sqrt
    assert type(names["json"]) is types.ModuleType
    assert pickle.loads(pickle.dumps(names["datetime"].date(2026, 1, 1))) == dt.date(2026, 1, 1)


def test_an_interrupted_import_leaves_no_half_module_to_the_next(monkeypatch: pytest.MonkeyPatch) -> None:
    """An interrupt can hit the facade's making; the step after it gets the whole module."""
    imports = Imports(["json"], "/nowhere")

    def interrupted(*arguments: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(imports, "_copy", interrupted)
    with pytest.raises(KeyboardInterrupt):
        imports.import_("json")
    monkeypatch.undo()
    module = imports.import_("json")
    assert module is not None
    assert module.loads is json.loads
    assert imports.reveal(module) is json


def test_a_library_imports_for_itself_what_it_likes() -> None:
    """Source: CPython takes `__import__` from the builtins of the importing frame's globals."""
    assert run("import statistics\nmean = statistics.mean([1, 3])", "statistics")["mean"] == 2


def test_c_code_imports_for_itself_what_it_likes() -> None:
    """Source: `PyImport_Import` asks the innermost Python frame, which is the step's, and drops what it is given."""
    code = "import ctypes\nc_import = ctypes.pythonapi.PyImport_ImportModule\nc_import.restype = ctypes.py_object\n"
    assert run(code + "module = c_import(b'colorsys')", "ctypes")["module"].rgb_to_hls
    assert run("got = __import__('os', globals(), globals(), [])")["got"] is None


def test_a_module_is_imported_once() -> None:
    """Ours: two imports give one object, as in any Python."""
    names = run(
        "import json as a, json as b\nfrom collections import abc\nimport collections.abc as c",
        "json",
        "collections",
        "collections.abc",
    )
    assert names["a"] is names["b"]
    assert names["abc"] is names["c"]


def test_a_listed_submodule_brings_its_package_as_a_bare_name() -> None:
    """Ours: `import urllib.parse` binds `urllib`, which then holds nothing else."""
    names = run("import urllib.parse", "urllib.parse")
    assert names["urllib"].parse.quote("a b") == "a%20b"
    with pytest.raises(AttributeError, match="'request'"):
        _ = names["urllib"].request
    with pytest.raises(ImportRefused, match=r"'urllib\.request'"):
        run("import urllib.request", "urllib.parse")


def test_a_submodule_that_stands_in_its_listed_package_may_be_used() -> None:
    """Ours: `from json.decoder import JSONDecodeError` is honest, `json.tool` reads files."""
    assert run("from json.decoder import JSONDecodeError as E", "json")["E"] is json.JSONDecodeError
    with pytest.raises(ImportRefused, match=r"'json\.tool'"):
        run("import json.tool", "json")
    with pytest.raises(ImportRefused, match=r"'collections\._abc'"):
        run("import collections._abc", "collections")


def test_a_third_party_package_brings_its_public_submodules() -> None:
    """Ours: who allows `numpy` means `numpy.linalg` too; what it imported for itself stays hidden."""
    names = run("import hypothesis.strategies as st\nimport hypothesis", "hypothesis")
    assert names["st"].integers
    with pytest.raises(AttributeError):
        _ = names["hypothesis"]._version
    with pytest.raises(ImportRefused):
        run("import hypothesis._settings", "hypothesis")


def test_a_listed_module_that_is_not_installed_says_so_itself() -> None:
    """Ours: allowed and missing are two things."""
    with pytest.raises(ModuleNotFoundError, match="No module named 'not_installed_here'"):
        run("import not_installed_here", "not_installed_here")


def test_names_that_a_module_makes_on_demand_are_there() -> None:
    """Source: PEP 562; `concurrent.futures` loads its pools so."""
    names = run("from concurrent.futures import ThreadPoolExecutor as T", "concurrent.futures")
    assert names["T"].__name__ == "ThreadPoolExecutor"


def test_a_facade_costs_nothing_where_the_module_makes_nothing_on_demand() -> None:
    """Source: CPython specializes `math.sqrt` only for a module without `__getattr__` (measured: 1.6 times slower)."""
    names = run("import math, json.decoder, concurrent.futures", "math", "json", "concurrent.futures")
    assert "__getattr__" not in vars(names["math"])
    assert "__getattr__" not in vars(names["json"])
    assert "__getattr__" in vars(names["concurrent"].futures)


def test_io_is_memory_and_the_scratch_folder(tmp_path: Path) -> None:
    """Issue 2: io, memory only."""
    names = run("import io\nwith io.open('a', 'w') as file: file.write('x')", "io", scratch=str(tmp_path))
    assert (tmp_path / "a").exists()
    assert names["io"].StringIO is io.StringIO
    for name in ("FileIO", "open_code"):
        with pytest.raises(BuiltinRefused, match=rf"^io\.{name}\(\) is refused .*: open\(\) reads and writes files"):
            getattr(names["io"], name)("a")
    with pytest.raises(PermissionError):
        names["io"].open("/etc/hostname")


def test_wraps_works_and_copies_no_globals() -> None:
    """Source: in-update-wrapper of the corpus."""
    code = "from functools import wraps, update_wrapper\n@wraps(len, assigned=('__doc__',))\ndef f(): pass"
    names = run(code, "functools")
    assert names["f"].__wrapped__ is len
    assert names["f"].__doc__ == len.__doc__
    with pytest.raises(AttributeError, match="__globals__"):
        names["update_wrapper"](names["f"], json.dumps, assigned=("__globals__",))


def test_files_are_opened_in_the_scratch_folder_alone(tmp_path: Path) -> None:
    """Issue 2: text and binary, relative to it, links resolved."""
    scratch, outside = tmp_path / "w", tmp_path / "outside"
    scratch.mkdir()
    outside.write_text("secret", encoding="utf-8")
    (scratch / "link").symlink_to(outside)
    (scratch / "near").symlink_to("inside")
    open_ = scratch_open(str(scratch))
    with open_("inside", "w") as file:
        file.write("é")
    assert (scratch / "inside").read_bytes() == "é".encode()
    for name in ("inside", b"inside", scratch / "inside", "./x/../inside", "near"):
        with open_(name, "rb") as file:
            assert file.read() == "é".encode()
    for name in (
        "link",
        "../outside",
        outside,
        "/etc/hostname",
        str(scratch) + "-not",
        "/dev/null",
        "\x2e\x2e/outside",
    ):
        with pytest.raises(PermissionError, match="works in the scratch directory only"):
            open_(name)
    with pytest.raises(PermissionError, match="no file descriptor"):
        open_(0)
    with pytest.raises(FileNotFoundError):
        open_("missing")


def test_the_scratch_folder_may_be_named_through_a_link(tmp_path: Path) -> None:
    """Ours: on some systems the temporary directory is one."""
    (tmp_path / "real").mkdir()
    (tmp_path / "w").symlink_to("real")
    with scratch_open(str(tmp_path / "w"))(os.fspath(tmp_path / "w" / "a"), "w") as file:
        file.write("x")
    assert (tmp_path / "real" / "a").read_text(encoding="utf-8") == "x"


@pytest.mark.parametrize("name", sorted(LEADS_OUT))
def test_an_attribute_that_leads_out_is_refused_however_it_is_spelled(name: str) -> None:
    """Ours: read, written, deleted, in a pattern; as a text it is only a text."""
    for code in (f"x.{name}", f"x.{name} = 1", f"del x.{name}", f"match x:\n    case object({name}=y): pass"):
        with pytest.raises(AttributeRefused, match=name):
            refuse_attributes(ast.parse(code))
    refuse_attributes(ast.parse(f"context.count({name!r}); {name} = 1"))


def test_refused_builtins_say_what_to_do_instead() -> None:
    """Ours: early, and by name."""
    for name, instead in (("compile", "plain text"), ("input", "the next step"), ("breakpoint", "print the values")):
        with pytest.raises(BuiltinRefused, match=rf"^{name}\(\) is refused by the policy of this session: .*{instead}"):
            run(f"{name}('1', 'x', 'eval')")
    for name in ("__loader__", "__spec__", "exit", "quit", "license", "get_ipython"):
        with pytest.raises(NameError):
            run(name)
