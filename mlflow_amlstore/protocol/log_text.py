"""A log's bytes as a person reads them: without colour codes, each line in its latest state, in its own order."""

from mlflow_amlstore.records.text_direction import plain


def plain_text(content: bytes) -> str:
    """Bytes of a log as text to show: without colour codes and marks that turn text around."""
    return without_codes(plain(content.decode("utf-8", errors="replace").replace("\0", "␀")))


def without_codes(text: str) -> str:
    """Text without a terminal's codes; of a line that was written over, as a progress bar's is, its last state."""
    if "\x1b" not in text and "\r" not in text:
        return text
    from rich.text import Text  # reads ANSI codes as terminals do

    lines = (line.rstrip("\r").rpartition("\r")[2] for line in text.split("\n"))
    return "\n".join(Text.from_ansi(line).plain if "\x1b" in line else line for line in lines)
