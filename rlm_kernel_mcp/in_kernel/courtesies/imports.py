"""What a step may import, by the policy's allowlist.

A courtesy with good errors, not a wall: `os`, `ctypes` and `socket` are already in `sys.modules`, and code that
wants them finds them. The walls hold without it.
How: CPython takes `__import__` from the builtins of the *globals* of the frame that imports. So the namespace gets
builtins of its own, and what a library imports for itself is untouched.
Above: `in_kernel/ipython/app.py`. Below: `builtins_policy.py`, `facades.py`, `wording.py`.
"""

from __future__ import annotations

import ast
import difflib
import functools
import importlib.util
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from types import MappingProxyType, ModuleType
from typing import Any, Final

from rlm_kernel_mcp.in_kernel.courtesies.builtins_policy import refuse_attributes, restricted_builtins
from rlm_kernel_mcp.in_kernel.courtesies.facades import HIDDEN, ONLY, stand_ins
from rlm_kernel_mcp.in_kernel.courtesies.wording import Wording, wording
from rlm_kernel_mcp.in_kernel.namespace.live_facade import LIVE, LiveFacade

MISSPELT_LIKENESS: Final = 0.9
"""Similarity from which on a module of Python's own may have been meant (`colections` is close enough, `lxml` is
not)."""
MISSPELT_CHARS: Final = 40
DATA: Final = ("matplotlib", "numpy", "pandas", "pyarrow")
"""What the kernelspec `rlm-python-data` has, and none else."""
_PROCESSES: Final = "no process can be started; use concurrent.futures.ThreadPoolExecutor"


def _kept(words: Wording) -> str:
    return f"names persist from {words.cell} to {words.cell}; json writes text"


INSTEAD: Final[Mapping[str, Callable[[Wording], str]]] = {
    **dict.fromkeys(("glob", "os", "posix", "shutil", "tempfile"), lambda words: words.files),
    **dict.fromkeys(("concurrent.futures.process", "multiprocessing", "pty", "subprocess"), lambda _: _PROCESSES),
    **dict.fromkeys(
        (
            *("aiohttp", "ftplib", "http", "httpx", "openai", "requests", "smtplib", "socket", "ssl"),
            *("urllib", "urllib.request", "urllib3"),
        ),
        lambda words: words.network,
    ),
    **dict.fromkeys(("marshal", "pickle", "shelve"), _kept),
    **dict.fromkeys(("faulthandler", "pdb"), lambda _: "there is no debugger; an error shows its traceback"),
    "rlm": lambda words: words.own_library,
    "signal": lambda words: words.signals,
    "sqlite3": lambda _: "use dict, Counter or sorted()",
}
"""What to do instead of importing a module, or one below it."""


def instead_of(name: str) -> str:
    """What a step that wanted this module can do, in a few words."""
    top, words = name.partition(".")[0], wording()
    known = INSTEAD.get(name) or INSTEAD.get(top)
    if known is not None and (said := known(words)):
        return f"{said}; {words.add_any}"
    if top in sys.stdlib_module_names:
        return words.add.format(name=name)
    near = difflib.get_close_matches(top[:MISSPELT_CHARS], sys.stdlib_module_names, 1, MISSPELT_LIKENESS)
    meant = f"did you mean {near[0]}? " if near else ""
    other = f"; {words.has_data}" if top in DATA else ""
    return f"{meant}{words.add_installed.format(name=top)}{other}"


class ImportRefused(ImportError):
    """The policy of this session refuses the import."""


def allowed_names(policy_imports: Mapping[str, Any]) -> list[str]:
    """The modules that may be imported, sorted; `["*"]` where the policy allows any."""
    return ["*"] if policy_imports["mode"] == "any" else sorted(policy_imports["modules"])


def install_import_policy(
    shell: Any, policy_imports: Mapping[str, Any], scratch: str, own: Mapping[str, Any] = MappingProxyType({})
) -> None:
    """Give the shell's namespace the builtins and the `__import__` of the policy.

    With mode `any` nothing is restricted. With `allowlist` every cell gets fresh builtins, since code may unbind
    them (`except E as __builtins__` does) and the next cell would then get the real ones. `own`: builtins of this
    kernel in place of the policy's.
    """
    if policy_imports["mode"] == "any":
        return
    imports = Imports(policy_imports["modules"], scratch)
    names = restricted_builtins(scratch, imports.import_, imports.reveal) | dict(own)
    transform = shell.transform_ast

    def transform_ast(tree: ast.AST) -> ast.AST:
        # Not registered as a transformer: IPython unregisters one that raises anything but InputRejected.
        shell.user_ns["__builtins__"] = dict(names)
        refuse_attributes(tree)
        transformed: ast.AST = transform(tree)
        return transformed

    shell.transform_ast = transform_ast
    shell.user_ns["__builtins__"] = dict(names)
    # IPython puts these into the namespace; each would be a way round the builtins above.
    for name in ("__builtin__", "__loader__", "__spec__", "open"):
        shell.user_ns.pop(name, None)
        shell.user_ns_hidden.pop(name, None)


class Imports:
    """The session's `__import__` and the facades that it gives out.

    A facade is a real module object with the public names of the module and without the modules that it imported
    for itself (`statistics.sys`, `json.codecs`). Functions and classes in it are the real ones.
    """

    def __init__(self, modules: Iterable[str], scratch: str) -> None:
        self._listed = frozenset(modules)
        self._namespaces = frozenset(parent for name in self._listed for parent in _parents(name))
        self._facades: dict[str, ModuleType] = {}
        self._real: dict[int, tuple[ModuleType, ModuleType]] = {}
        """Facade and real module by the facade's id, which is not reused as long as the facade is kept here."""
        self._scratch = scratch

    def admits(self, name: str) -> bool:
        """Whether the policy admits a module: it is listed, or a public submodule of one that is.

        A submodule of the standard library must be loaded and stand in its package already (`json.decoder` does,
        `json.tool` does not); a third-party package brings all of its public submodules.
        """
        if name in self._listed:
            return True
        parent, _, child = name.rpartition(".")
        if not parent or child.startswith("_") or not self.admits(parent):
            return False
        if name.partition(".")[0] not in sys.stdlib_module_names:
            return True
        module = sys.modules.get(name)
        return module is not None and vars(sys.modules[parent]).get(child) is module

    def import_(
        self,
        name: str,
        globals: Mapping[str, object] | None = None,  # noqa: A002  (the signature of `__import__`)
        locals: Mapping[str, object] | None = None,  # noqa: A002
        fromlist: Sequence[str] | None = (),
        level: int = 0,
    ) -> ModuleType | None:
        """`__import__` of the session.

        Raises:
            ImportRefused: the policy does not admit the module; the message says what to do instead.
        """
        if level:
            raise ImportError("attempted relative import with no known parent package")
        if globals is not None and globals is locals and type(fromlist) is list and not fromlist:
            # C code that imports while the step calls it (`strptime` needs `_strptime`) comes here too: the innermost
            # frame is the step's. `PyImport_Import` asks in just this form, and takes nothing of what it is given.
            importlib.import_module(name)
            return None
        if name.rpartition(".")[0] in self._listed:
            importlib.import_module(name.rpartition(".")[0])
        if not self.admits(name) and (not fromlist or "*" in fromlist):
            raise self._refused(name)  # a package that only contains an admitted module has nothing to give
        if not fromlist:
            self._facade(name)
            return self._top(name)
        module = self._facade(name)
        for wanted in fromlist:
            self._check_member(module, name, wanted)
        return module

    def reveal(self, thing: Any) -> Any:
        """The real module behind a facade; anything else as it is."""
        known = self._real.get(id(thing))
        return thing if known is None else known[1]

    def _top(self, name: str) -> ModuleType:
        """The outermost package, with the facades on the way to `name` bound in their parents."""
        while "." in name:
            parent, _, child = name.rpartition(".")
            vars(self._facade(parent))[child] = self._facade(name)
            name = parent
        return self._facade(name)

    def _check_member(self, module: ModuleType, name: str, wanted: str) -> None:
        # Otherwise CPython would look for the submodule in `sys.modules` and hand out the real one.
        if wanted == "*" or hasattr(module, wanted):
            return
        full, real = f"{name}.{wanted}", self.reveal(module)
        if hasattr(real, wanted) or (hasattr(real, "__path__") and importlib.util.find_spec(full) is not None):
            raise self._refused(full)
        raise ImportError(f"cannot import name {wanted!r} from {name!r}", name=name)

    def _refused(self, name: str) -> ImportRefused:
        below = sorted(module for module in self._listed if module.startswith(f"{name}."))
        instead = f"import {below[0]}" if below and name not in INSTEAD else instead_of(name)
        return ImportRefused(f"import of {name!r} is refused by the policy: {instead}.", name=name)

    def _facade(self, name: str) -> ModuleType:
        known = self._facades.get(name)
        if known is not None:
            return known
        admitted = self.admits(name)
        if not admitted and name not in self._namespaces:
            raise self._refused(name)
        real = importlib.import_module(name)
        facade = (LiveFacade if name in LIVE else ModuleType)(name, real.__doc__)
        members = vars(facade)
        if admitted:
            self._copy(name, real, members)
        # CPython's fast path for `math.sqrt` ends at a module that has `__getattr__`: only where one is needed.
        third_party = name.partition(".")[0] not in sys.stdlib_module_names
        if not admitted or third_party or hasattr(real, "__getattr__") or name in LIVE:
            members["__getattr__"] = functools.partial(self._member, name, real, admitted)
        # Only now: an interrupt of the importing step must not leave half a module to later steps.
        self._real[id(facade)] = facade, real
        self._facades[name] = facade
        return facade

    def _copy(self, name: str, real: ModuleType, members: dict[str, Any]) -> None:
        """Fill a facade: public names and the admitted submodules, but not what the module imported for itself."""
        declared = frozenset(getattr(real, "__all__", ()))
        only, left_out = ONLY.get(name), HIDDEN.get(name, frozenset()) | LIVE.get(name, frozenset())
        for member, value in list(vars(real).items()):
            if member.startswith("_") and member not in declared and member != "__version__":
                continue
            if member in left_out or (only is not None and member not in only):
                continue
            full = f"{name}.{member}"
            if not isinstance(value, ModuleType):
                members[member] = value
            elif sys.modules.get(full) is value and self.admits(full):
                members[member] = self._facade(full)
        members.update(stand_ins(name, self._scratch))
        if declared:
            members["__all__"] = [member for member in real.__all__ if member in members]

    def _member(self, name: str, real: ModuleType, admitted: bool, wanted: str) -> Any:
        """A facade's module-level `__getattr__`: submodules, and what the real module creates on demand."""
        full = f"{name}.{wanted}"
        if full in self._listed or full in self._namespaces:
            return self._facade(full)
        if admitted and not wanted.startswith("_") and (name not in LIVE or wanted in LIVE[name]):
            value = getattr(real, wanted)
            if not isinstance(value, ModuleType):
                return value
            if sys.modules.get(full) is value and self.admits(full):
                return self._facade(full)
        raise AttributeError(
            f"module {name!r} has no attribute {wanted!r}{self._why_not(name, real, admitted, wanted)}", name=wanted
        )

    def _why_not(self, name: str, real: ModuleType, admitted: bool, wanted: str) -> str:
        """Why a facade has no such attribute, as the end of a sentence; nothing where the module has none either."""
        if not admitted:
            below = ", ".join(sorted(module for module in self._listed if module.startswith(f"{name}.")))
            return f" in this session, whose policy admits {below} of it alone; {wording().add_any}"
        return " in this session: the policy leaves that name out" if wanted in vars(real) else ""


def _parents(name: str) -> list[str]:
    parts = name.split(".")
    return [".".join(parts[:count]) for count in range(1, len(parts))]
