"""The local files that a folder to be logged has."""

import logging
import os
from collections.abc import Iterator
from pathlib import Path

_logger = logging.getLogger(__name__)


def files_under(folder: Path) -> Iterator[Path]:
    """Every file under a folder; links to files are followed, links to folders are not (they may lead in a circle)."""
    for parent, _, names in os.walk(folder):
        for name in names:
            found = Path(parent, name)
            if found.is_file():
                yield found
            else:
                _logger.warning("Not uploaded, as it is no file or a link to none: %s", found)
