"""What a host says to those of other versions as it begins: take no further client.

Is: finding them, and the words. They keep the clients that they have, and end with the last. Is not: what a host does
that is told so (`lifetime.py`). Above: `serving.py`. Below: `front/front.py`.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Final

from rlm_kernel_mcp.front.front import NoHost, Place

log = logging.getLogger(__name__)

WAIT_S: Final = 10.0


def drain_others(place: Place) -> None:
    """Tell every other host of this installation and these records. It may wait for them: in a thread."""
    for socket in sorted(Path(place.directory).glob(f"{Path(place.stem).name}*.sock")):
        if str(socket) == place.socket:
            continue
        other = Place(place.environ)
        other.at(str(socket).removeprefix(place.stem).removesuffix(".sock"))
        try:
            connection = other.connect(WAIT_S)
            if connection is not None:
                connection.send(other.introduced(connection, b"drain"))
                connection.close()
        except (NoHost, OSError) as error:
            log.info("%s was not told that there is a newer host: %s", socket.name, error)
