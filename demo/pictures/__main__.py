"""`bin/screenshots [NAME ...]`: makes the pictures of the README anew, all of them or the ones named."""

from __future__ import annotations

import argparse
import sys
from typing import Final

from demo.agent import ROOT
from demo.pictures.makers import MAKERS

PICTURES: Final = ROOT / "docs" / "pictures"


def main() -> int:
    """Returns the exit status."""
    parser = argparse.ArgumentParser(prog="bin/screenshots", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"a picture: {', '.join(MAKERS)} (default: all)")
    names = parser.parse_args().names
    if unknown := [name for name in names if name not in MAKERS]:
        parser.error(f"there is no picture {', '.join(unknown)}; there are: {', '.join(MAKERS)}")
    PICTURES.mkdir(exist_ok=True)
    for name in names or MAKERS:
        made = MAKERS[name]()
        data = made.encode() if isinstance(made, str) else made
        (PICTURES / name).write_bytes(data)
        print(f"docs/pictures/{name}: {len(data):,} bytes", file=sys.stderr)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
