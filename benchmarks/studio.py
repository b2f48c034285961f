"""Studio beside MLflow's UI, trackio and TensorBoard: what pages send and take, the server's part, and being live.

    pip install -e '.[studio]' mlflow trackio tensorboard playwright
    python tests/studio/chromium.py                                    # Debian's Chromium, where there is none
    python benchmarks/studio.py [--quick] [--rounds 3] [--only runs,server,long,fifty,live,start,logging]
        [--output benchmarks/results/studio.json] [--pictures DIR]

All have the same data (`studio_data.py`) and take turns in every round, each with a new headless Chromium of 1440 × 900
whose cache is empty; a figure is the median of its rounds. The page that is timed was visited before in that turn, by
another visitor with a cache of their own, so that server and browser have loaded themselves.
A page is timed from the moment that the browser is told to go there until what it is for is in the DOM and a frame was
painted (`studio_pages.py`). CPU seconds of the server's and the browser's processes stand beside wall time, since they
hang less on what else the machine does. The server's pages are measured while the workspace is logged into
(`studio_service.py`). A peer that isn't installed is left out, and so is what a peer can't do; the notes name both. A
bar that isn't met is printed and fails nothing; a page that fails does.
"""

import argparse
import json
import os
import platform
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import studio_live as live
import studio_pages as pages
import studio_service as service
from service_servers import Running, wait_until_quiet
from service_table import Row, note, notes
from studio_browser import Browser, browsing
from studio_data import DATA, WRITERS, Sizes, Written
from studio_servers import MLFLOW, OURS, PRODUCTS, TENSORBOARD, TRACKIO, installed, serving
from studio_table import print_table, times_best_peer

QUICK = Sizes(runs=1000, points=200_000, curve_points=2_000, many=20_000)


@dataclass(frozen=True)
class Workload:
    """How often and how long."""

    sizes: Sizes
    repeats: int = 100
    seconds: float = 4
    pairs: int = 3
    idle_s: float = 20


class Filled:
    """The folders of the products, filled with a data set when one is asked for."""

    def __init__(self, folder: Path, sizes: Sizes) -> None:
        self._folder = folder
        self._sizes = sizes
        self._written: dict[tuple[str, str], Written] = {}

    def folder(self, product: str, data: str) -> Path:
        return self._folder / (f"{product}-many" if data == "many" else product)

    def written(self, product: str, data: str) -> Written:
        if (product, data) not in self._written:
            began = time.perf_counter()
            written = WRITERS[product](self.folder(product, data), data, DATA[data](self._sizes))
            self._written[product, data] = written
            seconds = time.perf_counter() - began
            print(f"{product} has the data set {data!r} after {seconds:.0f} s", file=sys.stderr, flush=True)
        return self._written[product, data]


@dataclass(frozen=True)
class Section:
    """Rows that are measured together, over one data set, of some products."""

    name: str
    rows: list[Row]
    data: str
    products: tuple[str, ...]
    measure: Callable[[str, Filled], None]


def sections(work: Workload) -> list[Section]:
    def with_page(data: str, measure: Callable[[Running, Browser, Written, Sizes], None]) -> Callable[..., None]:
        def turn(product: str, filled: Filled) -> None:
            with serving(product, filled.folder(product, data), data) as server, browsing() as browser:
                wait_until_quiet(server, windows=2)
                browser.wait_until_quiet()
                measure(server, browser, filled.written(product, data), work.sizes)

        return turn

    def server(product: str, filled: Filled) -> None:
        with serving(product, filled.folder(product, "many")) as running:
            service.measure_server(running, filled.written(product, "many"), work.repeats)

    def is_live(product: str, filled: Filled) -> None:
        folder = filled.folder(product, "fifty")
        with serving(product, folder, "fifty") as running, browsing() as browser:
            wait_until_quiet(running, windows=1)
            live.measure_live(running, browser, filled.written(product, "fifty"), folder, work.idle_s)

    def start(product: str, filled: Filled) -> None:
        folder = filled.folder(product, "thousand")
        live.measure_start(product, folder, lambda: serving(product, folder, "thousand"))

    def logging(product: str, filled: Filled) -> None:
        written = filled.written(product, "thousand")
        with serving(product, filled.folder(product, "thousand")) as running, browsing() as browser:
            service.measure_logging(running, browser, written, work.seconds, work.pairs)

    return [
        Section("runs", pages.RUNS_ROWS, "thousand", PRODUCTS, with_page("thousand", pages.measure_runs)),
        Section("server", service.SERVER_ROWS, "many", (OURS, MLFLOW), server),
        Section("long", pages.LONG_ROWS, "long", PRODUCTS, with_page("long", pages.measure_long)),
        Section("fifty", pages.FIFTY_ROWS, "fifty", PRODUCTS, with_page("fifty", pages.measure_fifty)),
        Section("live", live.LIVE_ROWS, "fifty", (OURS, MLFLOW, TRACKIO), is_live),
        Section("start", live.START_ROWS, "thousand", PRODUCTS, start),
        Section("logging", service.LOG_ROWS, "thousand", (OURS,), logging),
    ]


def measure(section: Section, rounds: int, filled: Filled, present: list[str]) -> int:
    """All rounds of one section. Returns how many turns of ours failed; one of a peer's is noted."""
    failed = 0
    products = [product for product in section.products if product in present]
    for product in products:
        filled.written(product, section.data)
    for number in range(rounds):
        for product in products if number % 2 == 0 else reversed(products):
            began = time.perf_counter()
            try:
                section.measure(product, filled)
            except Exception as error:  # the other turns are worth having
                failed += product == OURS
                note(f"{section.name}, {product}: failed: {type(error).__name__}: {str(error)[:500]}")
            seconds = time.perf_counter() - began
            where = f"round {number + 1} of {rounds}, {product}, {seconds:.0f} s, load {os.getloadavg()[0]:.1f}"
            print(f"{section.name}: {where}", file=sys.stderr, flush=True)
    return failed


def report_of(measured: list[Section], work: Workload, rounds: int, load: tuple[float, float]) -> dict[str, Any]:
    versions = {}
    for name in ("mlflow-amlstore", "mlflow", "trackio", "tensorboard", "playwright"):
        with suppress(PackageNotFoundError):
            versions[name] = version(name)
    return {
        "python": platform.python_version(),
        "cpus": os.cpu_count(),
        "load_average": load,
        **versions,
        "rounds": rounds,
        "workload": asdict(work),
        "notes": notes,
        "rows": [
            {
                "section": section.name,
                "what": row.what.strip(),
                "unit": row.unit,
                **{product: row.median(product) for product in PRODUCTS},
                "times_best_peer": times_best_peer(row),
                "bar": row.bar_text(),
                "met": row.is_met(),
                "rounds": row.rounds,
            }
            for section in measured
            for row in section.rows
        ],
    }


def main() -> None:
    names = [section.name for section in sections(Workload(Sizes()))]
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--rounds", type=int, default=3)
    options.add_argument("--only", default=",".join(names), help="sections to measure, separated by commas")
    options.add_argument("--output", type=Path, default=Path("benchmarks/results/studio.json"))
    options.add_argument("--quick", action="store_true", help="the same table in some minutes: one round, less data")
    options.add_argument("--pictures", type=Path, metavar="DIR", help="keep a picture of each product's long metric")
    chosen = options.parse_args()
    if chosen.quick:
        options.set_defaults(rounds=1)  # what else is given holds
        chosen = options.parse_args()
    only = chosen.only.split(",")
    if unknown := set(only) - set(names):
        options.error(f"no section is called {', '.join(unknown)}; there are {', '.join(names)}")
    work = Workload(QUICK, repeats=40, seconds=1, pairs=2) if chosen.quick else Workload(Sizes())

    if chosen.pictures is not None:
        pages.keep_pictures(chosen.pictures)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that servers are stopped then, too
    present = installed()
    for product in PRODUCTS:
        if product not in present:
            note(f"{product} isn't installed here, so its column is empty: pip install {product}")
    note(f"{TENSORBOARD}: not live, so it has no time until a value is seen; {TRACKIO}: no search by the server")
    if chosen.quick:
        note(f"quick: smaller data than the rows say: {asdict(QUICK)}")
    load_before = os.getloadavg()[0]
    failed = 0
    with tempfile.TemporaryDirectory(prefix="studio-benchmark-") as folder:
        filled = Filled(Path(folder), work.sizes)
        measured = [section for section in sections(work) if section.name in only]
        for section in measured:
            failed += measure(section, chosen.rounds, filled, present)
    load = (load_before, os.getloadavg()[0])
    note(f"the machine's load was {load[0]:.1f} before and {load[1]:.1f} after, on {os.cpu_count()} CPUs")
    print_table({section.name: section.rows for section in measured})
    chosen.output.parent.mkdir(parents=True, exist_ok=True)
    chosen.output.write_text(json.dumps(report_of(measured, work, chosen.rounds, load), indent=2) + "\n")
    print(f"Written to {chosen.output}")
    if failed:
        sys.exit(f"{failed} turns of ours failed; the notes say why")


if __name__ == "__main__":
    main()
