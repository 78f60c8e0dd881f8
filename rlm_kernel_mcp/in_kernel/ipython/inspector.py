"""What `name?` and a client's inspection tell of an object: as IPython has it, without a path of the machine.

Is: the places in it, as tracebacks name them. Is not: a wall: code that may import a module can ask it where it lies.
Above: `shell.py`. Below: `in_kernel/display_text/source_locations.py`.
"""

from __future__ import annotations

import types
from pathlib import Path
from typing import Any

from IPython.core.oinspect import Inspector

from rlm_kernel_mcp.in_kernel.display_text.inspection import module_name
from rlm_kernel_mcp.in_kernel.display_text.source_locations import display_location


class SessionInspector(Inspector):
    """IPython's, for a reader who is not on this machine."""

    def info(self, obj: Any, *args: Any, **kwargs: Any) -> Any:
        """Everything that is reported about an object, by field."""
        found = super().info(obj, *args, **kwargs)
        if found["file"]:  # IPython has shortened the home directory
            found["file"] = display_location(str(Path(found["file"]).expanduser()))
        if type(obj) is types.ModuleType:  # its repr ends with the file
            found["string_form"] = f"<module {module_name(obj)!r}>"
        return found
