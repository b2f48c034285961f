import json
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).with_name("studio_picture.py")


@pytest.mark.needs("playwright")
def test_the_readmes_picture_of_studio_shows_what_the_example_leaves() -> None:
    """The script draws it anew. It runs in a process of its own, as this one may have a browser open."""
    from studio_picture import PICTURE, words_in

    printed = subprocess.run([sys.executable, SCRIPT, "--words"], check=True, capture_output=True, text=True).stdout
    assert json.loads(printed) == words_in(PICTURE)
