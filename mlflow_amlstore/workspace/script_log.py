"""This package's own log in a submitted script, `logs/azureml/110_azureml.log`: with what is too fine for a console."""

import logging
import os
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from mlflow_amlstore.workspace.redaction import redact

RUN_FOLDER_VARIABLE = "AMLSTORE_RUN_FOLDER"
"""The variable by which a process is known to be of a submitted run: its script has it, and all that this starts."""
SOURCE = "source"
"""The script's working folder, in the run's folder."""
PATH = "logs/azureml/110_azureml.log"
_TIME = "%Y-%m-%dT%H:%M:%S"  # UTC
_MOST_BYTES = 256 * 1024  # the file is kept anew each time that it has changed


def keep_script_log() -> None:
    """Keep from now on what this package logs, from DEBUG on, where this process is of a submitted run.

    The console gets what it would have got. Calling it again does nothing.
    """
    folder = os.environ.get(RUN_FOLDER_VARIABLE)
    if not folder:
        return
    logger = logging.getLogger("mlflow_amlstore")
    if not any(isinstance(handler, _ScriptLog) for handler in logger.handlers):
        logger.addHandler(_ScriptLog(Path(folder, SOURCE, PATH), logger))


class _ScriptLog(logging.FileHandler):
    """Several processes may write to the file. There is none before the first line."""

    def __init__(self, path: Path, logger: logging.Logger) -> None:
        super().__init__(path, delay=True, encoding="utf-8", errors="replace")
        self.setFormatter(_Redacted("%(asctime)s.%(msecs)03dZ %(levelname)s %(process)d %(name)s: %(message)s", _TIME))
        self._for_console = logger.level  # which says what the console gets, if the script has set it
        self._is_passed_on = logger.propagate
        logger.propagate = False  # loggers above show whatever reaches them, of any level
        logger.setLevel(logging.DEBUG)

    def handle(self, record: logging.LogRecord) -> Any:
        handled = super().handle(record)
        root = logging.getLogger()
        if self._is_passed_on and record.levelno >= (self._for_console or root.level):
            root.handle(record)  # without this handler's lock: the root's may be held by who waits for this one
        return handled

    def emit(self, record: logging.LogRecord) -> None:
        with suppress(OSError):
            if self.stream is None:
                Path(self.baseFilename).parent.mkdir(parents=True, exist_ok=True)
                self.stream = self._open()
            if record.levelno >= logging.WARNING or os.fstat(self.stream.fileno()).st_size < _MOST_BYTES:
                super().emit(record)

    def handleError(self, record: logging.LogRecord) -> None:
        """Say nothing: a script goes on whose disk is full."""


class _Redacted(logging.Formatter):
    converter = staticmethod(time.gmtime)

    def format(self, record: logging.LogRecord) -> str:
        return redact(super().format(record))
