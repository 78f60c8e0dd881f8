"""The options of `cluster`.

Is: its parsers and help texts. Is not: its work, which is given; nor anything heavy, since this is read before a
command is chosen. Above: `cli.py`. Below: the standard library.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Any, Final

NODES_MAX: Final = 16
"""On one machine: to try it, and nothing more."""


def add_cluster(commands: Any, work: Callable[[argparse.Namespace], int]) -> None:
    """Add the parsers."""
    parser: argparse.ArgumentParser = commands.add_parser(
        "cluster",
        help="sessions on many machines, on Ray: begin, look at, empty a node",
        description="Sessions on many machines that outlive their node. It needs the extra [ray].",
    )
    actions = parser.add_subparsers(metavar="ACTION", required=True)
    for add in (_add_up, _add_status, _add_drain):
        action = add(actions)
        action.set_defaults(command=work, action=action.prog.rpartition(" ")[2], parser=action)


def _add_up(actions: Any) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = actions.add_parser(
        "up",
        help="begin a cluster on this machine, or put nodes on a running Ray",
        description="Without --address: begin Ray on this machine, on loopback and with a token, with some nodes to "
        "try; it ends with this command, by Ctrl-C, and sessions stay in the store. With it: put a node on each "
        "machine of a Ray that runs already, where it stays. Settings of nodes are the RLM_ variables of this command.",
    )
    parser.add_argument("--address", metavar="HOST:PORT", help="head of a Ray that runs already, or auto: RAY_ADDRESS")
    parser.add_argument(
        "--store",
        metavar="PLACE",
        help="what all nodes share: an absolute path, or an address such as s3://bucket/way (default on this machine: "
        "a directory in RLM_STATE_DIR)",
    )
    parser.add_argument("--nodes", type=_nodes, default=3, metavar="N", help="nodes on this machine (default: 3)")
    parser.add_argument("--memory-mb", type=_megabytes, metavar="MB", help="memory of each node on this machine")
    parser.add_argument(
        "--object-store-mb",
        type=_megabytes,
        default=80,
        metavar="MB",
        help="shared memory of Ray's own on each node on this machine (default: 80, the least)",
    )
    _add_json(parser)
    return parser


def _add_status(actions: Any) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = actions.add_parser(
        "status",
        help="what the nodes of a cluster are doing",
        description="The nodes of a cluster: their sessions, memory and walls, and in which epochs their sessions are. "
        "Exit status 1: a node does not answer, or there is none.",
    )
    _add_address(parser)
    _add_json(parser)
    return parser


def _add_drain(actions: Any) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = actions.add_parser(
        "drain",
        help="empty a node before its machine is stopped",
        description="Have a node take no new session, and let those go that it has: each comes back on another node "
        "when it is used, with its values.",
    )
    parser.add_argument("node", metavar="NODE", help="as `cluster status` calls it")
    _add_address(parser)
    _add_json(parser)
    return parser


def _add_address(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--address",
        default="auto",
        metavar="HOST:PORT",
        help="head of its Ray (default: RAY_ADDRESS, or the cluster of this machine)",
    )


def _add_json(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="one JSON object, for scripts, instead of a table")


def _nodes(text: str) -> int:
    return _whole(text, 1, NODES_MAX, "nodes")


def _megabytes(text: str) -> int:
    return _whole(text, 80, 1 << 24, "MB")


def _whole(text: str, least: int, most: int, unit: str) -> int:
    number = int(text) if text.isascii() and text.isdigit() else -1
    if not least <= number <= most:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of {least:,} to {most:,} {unit}")
    return number
