"""`bin/demo`: the main job on real input, through the real MCP server.

Without an option, three questions over the whole standard library; with --large, three over a log of 2 GB, in a session
with 512 MB of memory; with --cluster, 200 sessions on three nodes, one of which is killed.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from demo import large_questions, stdlib_questions


def main() -> int:
    """Run the part that is asked for; returns the exit status."""
    parser = argparse.ArgumentParser(prog="bin/demo", description=__doc__)
    parser.add_argument("package", nargs="*", help="only these packages of the library, such as json (default: all)")
    parser.add_argument("--large", action="store_true", help="a log that is larger than the session's memory")
    parser.add_argument(
        "--large-mb",
        type=int,
        metavar="MB",
        help=f"size of that log in MB, at least {large_questions.SMALLEST_MB} (default: {large_questions.LARGE_MB:,})",
    )
    parser.add_argument(
        "--notebook", type=Path, metavar="FILE", help="keep the session over the library there, as a Jupyter notebook"
    )
    parser.add_argument(
        "--cluster",
        action="store_true",
        help="200 sessions on three nodes of Ray, one of which is killed (needs [ray])",
    )
    options = parser.parse_args()
    if options.cluster:
        if options.package or options.notebook is not None or options.large or options.large_mb is not None:
            parser.error("--cluster goes alone")
        from demo import cluster_questions

        return cluster_questions.main()
    if not options.large:
        if options.large_mb is not None:
            parser.error("--large-mb goes with --large")
        kept = None if options.notebook is None else options.notebook.absolute()
        return stdlib_questions.main(options.package, kept)
    if options.package or options.notebook is not None:
        parser.error("--large has no packages, and no notebook")
    return large_questions.main(options.large_mb or large_questions.LARGE_MB)


if __name__ == "__main__":
    raise SystemExit(main())
