"""Ctrl+C in a command that waits for something else."""

import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import click


@contextmanager
def ends_on_interrupt(said: str = "") -> Iterator[None]:
    """Ctrl+C ends the command, with the exit code that shells give it and with no more words than `said`, on stderr."""
    try:
        yield
    except KeyboardInterrupt:
        if said:
            click.echo(f"\n{said}", err=True)
        sys.exit(128 + signal.SIGINT)
