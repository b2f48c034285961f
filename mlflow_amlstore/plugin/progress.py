"""A progress bar for long transfers, on a terminal only."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from mlflow.environment_variables import MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR

_LONG_BYTES = 64 * 1024 * 1024


@contextmanager
def transfer_progress(description: str, total_bytes: int) -> Iterator[Callable[[int], None] | None]:
    """Show a bar for a transfer of 64 MiB or more and yield what to tell each chunk's bytes; else yield None.

    MLflow's switch MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR holds here too.
    """
    if total_bytes < _LONG_BYTES or not sys.stderr.isatty() or not MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR.get():
        yield None
        return
    from rich.console import Console  # slow to import, and rarely needed
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn
    from rich.table import Column

    narrowed = Column(ratio=1, no_wrap=True, overflow="ellipsis")  # a narrow terminal cuts the name, not the figures
    columns = (
        TextColumn("{task.description}", table_column=narrowed),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), expand=True) as progress:
        task = progress.add_task(description, total=total_bytes)
        yield lambda count: progress.advance(task, count)
