"""`amlstore serve` beside `mlflow server` and the floor: load, one client, size, reading and files, with the bars.

    pip install -e '.[service,mlflow]' uvloop
    python benchmarks/service.py [--quick] [--seconds 3] [--rounds 3] [--only load,client,size,read,files]
        [--size-mb 1024] [--read-runs 1000] [--history-points 100000] [--output benchmarks/results/service.json]

The servers take turns in every round, each alone on the machine, and a figure is the median of its rounds: that makes
the ratios hold where the machine's speed drifts. With --quick a server stands still between its turns. All clients are
on the same cores as the server. Every acknowledged point is read back, every file that comes down is compared. The
floor is a server that only parses; for files it's `curl` to the same service, and `curl` to a plain file server is
shown beside it. A bar that isn't met is printed and fails nothing; a call that fails does.
"""

import argparse
import json
import os
import platform
import shutil
import signal
import sqlite3
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import service_clients as clients
import service_loads as loads
from load import CLIENTS
from service_servers import KeptServers, Start, running
from service_table import COLUMNS, Row, note, notes, print_table


@dataclass(frozen=True)
class Section:
    """`turns` are servers, with the way to them where there are two; `keeps` is for records that all rounds read."""

    name: str
    rows: list[Row]
    turns: tuple[str, ...]
    measure: Callable[[str, Path], None]
    keeps: bool = False


def sections(quick: bool, start: Start, seconds: float, source: Path, reading: clients.Reading) -> list[Section]:
    """The size section comes first: where servers are kept, its last start is that of all others."""
    ours = ("amlstore", "amlstore plugin", "mlflow")
    return [
        Section(
            "size",
            loads.SIZE_ROWS,
            (*COLUMNS, "mlflow default"),
            lambda turn, folder: loads.measure_size(turn, folder, start, seconds),
            keeps=quick,
        ),
        Section(
            "load", loads.LOAD_ROWS, COLUMNS, lambda turn, folder: loads.measure_load(turn, folder, start, seconds)
        ),
        Section(
            "client",
            clients.CLIENT_ROWS,
            (*ours, "floor"),
            lambda turn, folder: clients.measure_client(turn, folder, start, seconds),
        ),
        Section(
            "read",
            clients.READ_ROWS,
            ours,
            lambda turn, folder: clients.measure_read(turn, folder, start, reading),
            keeps=True,
        ),
        Section(
            "files",
            clients.FILES_ROWS,
            (*ours, "amlstore curl", "files curl"),
            lambda turn, folder: clients.measure_files(turn, folder, start, source),
        ),
    ]


def measure(section: Section, rounds: int, folder: Path) -> int:
    """All rounds of one section. Returns how many turns failed."""
    failed = 0
    for number in range(rounds):
        for turn in section.turns if number % 2 == 0 else reversed(section.turns):
            began = time.perf_counter()
            place = folder / (turn.split()[0] if section.keeps else "turn")
            try:
                section.measure(turn, place)
            except Exception as error:  # the other turns are worth having
                failed += 1
                note(f"{section.name}, {turn}: failed: {type(error).__name__}: {error}")
            if not section.keeps:
                shutil.rmtree(place, ignore_errors=True)
            seconds = time.perf_counter() - began
            print(
                f"{section.name}: round {number + 1} of {rounds}, {turn}, {seconds:.0f} s", file=sys.stderr, flush=True
            )
    return failed


def report_of(measured: list[Section], chosen: argparse.Namespace) -> dict[str, Any]:
    packages = ("mlflow", "mlflow-amlstore", "uvicorn", "starlette", "msgspec")
    return {
        "python": platform.python_version(),
        "sqlite": sqlite3.sqlite_version,
        "cpus": os.cpu_count(),
        **{name: version(name) for name in packages},
        "clients": CLIENTS,
        "seconds": chosen.seconds,
        "size_mb": chosen.size_mb,
        "read_runs": chosen.read_runs,
        "history_points": chosen.history_points,
        "notes": notes,
        "rows": [
            {
                "section": section.name,
                "what": row.what,
                "unit": row.unit,
                **{column: row.median(column) for column in COLUMNS},
                "bar": row.bar_text(),
                "met": row.is_met(),
                "rounds": row.rounds,
            }
            for section in measured
            for row in section.rows
        ],
    }


def main() -> None:
    names = [section.name for section in sections(False, running, 0, Path(), clients.Reading(0, 0))]
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--seconds", type=float, default=3, help="of each load, and of one client's calls")
    options.add_argument("--rounds", type=int, default=3)
    options.add_argument("--only", default=",".join(names), help="sections to measure, separated by commas")
    options.add_argument("--size-mb", type=int, default=1024, help="MiB of the file that goes up and down")
    options.add_argument("--read-runs", type=int, default=1000, help="in the page that is read")
    options.add_argument("--history-points", type=int, default=100_000, help="in the history that is read")
    options.add_argument("--output", type=Path, default=Path("benchmarks/results/service.json"))
    options.add_argument(
        "--quick",
        action="store_true",
        help="the same table in a few minutes: one short round, smaller records and files, servers that are kept",
    )
    chosen = options.parse_args()
    if chosen.quick:
        options.set_defaults(
            seconds=0.5, rounds=1, size_mb=256, read_runs=100, history_points=10_000
        )  # what else is given holds
        chosen = options.parse_args()
    only = chosen.only.split(",")
    if unknown := set(only) - set(names):
        options.error(f"no section is called {', '.join(unknown)}; there are {', '.join(names)}")

    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that servers are stopped then, too
    failed = 0
    with (
        tempfile.TemporaryDirectory(prefix="service-benchmark-") as folder,
        KeptServers(Path(folder, "kept")) as kept,
    ):
        start = kept.running if chosen.quick else running
        source = Path(folder, "file.bin")
        reading = clients.Reading(chosen.read_runs, chosen.history_points)
        measured = [
            section
            for section in sections(chosen.quick, start, chosen.seconds, source, reading)
            if section.name in only
        ]
        for section in measured:
            if section.name == "files":
                clients.make_file(source, chosen.size_mb)
            is_of_kept = chosen.quick and section.name == "size"
            failed += measure(section, chosen.rounds, Path(folder, "kept" if is_of_kept else section.name))
    print_table({section.name: section.rows for section in measured})
    chosen.output.parent.mkdir(parents=True, exist_ok=True)
    chosen.output.write_text(json.dumps(report_of(measured, chosen), indent=2) + "\n")
    print(f"Written to {chosen.output}")
    if failed:
        sys.exit(f"{failed} turns failed; the notes say why")


if __name__ == "__main__":
    main()
