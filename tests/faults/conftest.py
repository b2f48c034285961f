import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from fork_server import run_forked

RunScript = Callable[..., str]
Fill = Callable[[], Path]


@pytest.fixture
def run_script() -> RunScript:
    """Runs a script in a process of its own, with the arguments given, and returns what it printed.

    Fails where it exits with an error, and where anything it says is about a locked database.
    """

    def run(script: str, *arguments: object) -> str:
        done = run_forked(["-c", script, *map(str, arguments)])
        assert done.returncode == 0, done.stderr
        assert "database is locked" not in done.stderr
        return done.stdout

    return run


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 6 MB, of its own. Only root can mount one."""
    disk = tmp_path / "disk"
    disk.mkdir()
    if not hasattr(os, "geteuid") or os.geteuid() != 0:
        pytest.skip("mounting a small disk needs root")
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=6m", "tmpfs", disk], capture_output=True, check=False)
    if mounted.returncode:
        pytest.skip(f"a small disk can't be mounted here: {mounted.stderr.decode().strip()}")
    yield disk
    subprocess.run(["umount", "-l", disk], check=True)


@pytest.fixture
def fill(small_disk: Path) -> Fill:
    """Takes all the room that is left on the small disk, by a file that is returned."""

    def take_all() -> Path:
        ballast = small_disk / "ballast"
        with ballast.open("ab", buffering=0) as file:
            for size in (65536, 4096, 1):
                try:
                    while True:
                        file.write(bytes(size))
                except OSError:
                    continue
        assert shutil.disk_usage(small_disk).free == 0
        return ballast

    return take_all
