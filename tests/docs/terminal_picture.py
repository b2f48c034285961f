"""Draws the README's picture, docs/terminal.svg: a terminal in which its quickstart was followed.

python tests/docs/terminal_picture.py
"""

import io
import re
import tempfile
from html import unescape
from pathlib import Path

from followed_pages import ROOT, follow_quickstart, user_in
from rich.console import Console
from rich.text import Text

PICTURE = ROOT / "docs" / "terminal.svg"
WIDTH = 100
TIME = "2026-11-21 09:30:00"
_SHOWN = (
    "amlstore runs --columns name,experiment,status,start,params.learning_rate,metrics.loss",
    "amlstore show 7b5d80",
)
_LAST = "Params"  # where the picture ends


def draw() -> str:
    """The picture, of what commands print now."""
    console = Console(record=True, width=WIDTH, file=io.StringIO(), force_terminal=True)
    with tempfile.TemporaryDirectory() as folder, user_in(Path(folder)) as user:
        follow_quickstart(user)
        user.environment |= {"TERM": "xterm-256color", "COLUMNS": str(WIDTH)}
        for number, command in enumerate(_SHOWN):
            printed = re.sub(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d", TIME, user.types(command, "").strip("\n"))
            console.print(Text.assemble("\n" if number else "", ("$ ", "bold green"), (command, "bold")))
            console.print(Text.from_ansi(printed.partition(f"\n{_LAST}\n")[0]))
    return console.export_svg(title="amlstore", unique_id="terminal")


def words(picture: str) -> list[str]:
    """What can be read in a picture."""
    texts = [unescape(text).split() for text in re.findall(r"<text[^>]*>(.*?)</text>", picture, re.DOTALL)]
    return [word for text in texts for word in text]


if __name__ == "__main__":
    PICTURE.write_text(draw(), encoding="utf-8")
