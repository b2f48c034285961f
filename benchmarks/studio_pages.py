"""The pages of `studio.py` that a browser opens: the runs page, a metric of a million points, fifty curves.

A page is opened as a user would open it. It is usable, or drawn, when its rows or its curves are in the DOM and a frame
was painted. What isn't told by the DOM is told by what the page fetched: how many curves TensorBoard draws on its
canvas, and which planted spikes a page has. A spike is in the data if its value is among the numbers that the page
fetched, as a float of 32 bits, which TensorBoard keeps. Of the spikes only those count that are the highest or lowest
value among all points within a column's width to either side: no picture of that width may leave these out.
"""

import base64
import re
import struct
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from service_servers import Running, server_cpu_s
from service_table import Bar, Row
from studio_browser import Browser, Visit
from studio_data import Sizes, Spike, Written, long_metric
from studio_servers import MLFLOW, OURS, TENSORBOARD, TRACKIO
from studio_table import row

CHARTS_DRAWN = """() => {
  const charts = [...document.querySelectorAll('metric-chart')];
  const seen = charts.filter(chart => chart.getBoundingClientRect().top < innerHeight);
  return seen.length > 0 && seen.every(chart => chart.isDrawn);
}"""
PLOTLY_DRAWN = "() => document.querySelector('.js-plotly-plot .scatterlayer .trace path.js-line') !== null"
VEGA_DRAWN = "() => document.querySelector('.plot canvas, .plot svg') !== null"
TENSORBOARD_DRAWN = "() => document.querySelector('scalar-card tb-data-table-content-row') !== null"  # a curve's values
COLUMN_SHARE = 1 / 200  # of all steps: a column, for those whose chart isn't known
NUMBERS = re.compile(r"-?\d+\.\d+(?:[eE][+-]?\d+)?")


@dataclass(frozen=True)
class Page:
    """How a product's page is opened, when it is there, and what of its addresses has the data."""

    path: str
    condition: str
    data: str = ""
    drawn: Callable[[Visit], float] | None = None


def strokes(visit: Visit) -> float:
    return float(visit.page.evaluate("() => document.querySelector('metric-chart canvas').strokedPaths ?? 0"))


def runs_fetched(visit: Visit) -> float:
    """The curves of MLflow's, which are as many as the runs that its page has fetched points of."""
    bodies = visit.bodies(FIFTY[MLFLOW].data)
    return float(len({run_id for body in bodies for run_id in re.findall(r'"run_id": ?"(\w+)"', body)}))


def table_rows(visit: Visit) -> float:
    """The curves of TensorBoard's, which it draws on one canvas and lists below."""
    return float(visit.page.evaluate("() => document.querySelectorAll('scalar-card tb-data-table-content-row').length"))


def in_answers(part: str, name: str) -> Callable[[Visit], float]:
    """How many series the answers have, by a field that each has once."""
    return lambda visit: float(max((body.count(f'"{name}"') for body in visit.bodies(part)), default=0))


RUNS = {
    OURS: Page("/experiments/{experiment}/runs", "() => document.querySelectorAll('tr[data-run]').length >= 50"),
    MLFLOW: Page(
        "/#/experiments/{experiment}/runs",
        "() => document.querySelectorAll('.ag-center-cols-container .ag-row').length > 5",
    ),
    TRACKIO: Page("/runs?project={experiment}", "() => document.querySelectorAll('.runs-table tbody tr').length > 5"),
    TENSORBOARD: Page("/#timeseries", "() => document.querySelectorAll('tb-data-table-content-row').length > 5"),
}
LONG = {
    OURS: Page("/runs/{run}", CHARTS_DRAWN, "curves.json"),
    MLFLOW: Page(
        "/#/experiments/{experiment}/runs/{run}/model-metrics", PLOTLY_DRAWN, "metrics/get-history-bulk-interval"
    ),
    TRACKIO: Page("/?project={experiment}", VEGA_DRAWN, "get_logs_batch"),
    TENSORBOARD: Page("/#timeseries", TENSORBOARD_DRAWN, "timeSeries"),
}
FIFTY = {
    OURS: Page("/compare?runs={runs}", CHARTS_DRAWN, "curves.json", strokes),
    MLFLOW: Page(
        "/#/experiments/{experiment}/runs?compareRunsMode=CHART",
        PLOTLY_DRAWN,
        "metrics/get-history-bulk-interval",
        runs_fetched,
    ),
    TRACKIO: Page("/?project={experiment}", VEGA_DRAWN, "get_logs_batch", in_answers("get_logs_batch", "logs")),
    TENSORBOARD: Page("/#timeseries", TENSORBOARD_DRAWN, "timeSeries", table_rows),
}

SCRIPT = row("JS + CSS of a first visit, as sent", "KB", Bar(120))
REQUESTS = row("requests of the runs page", "requests")
ROWS = row("rows of runs in the DOM", "rows", more_is_better=True)
DATA_SENT = row("data sent for it", "KB", Bar(100))
SPIKES = row("planted spikes in the data", "%", Bar(100), more_is_better=True)
PICTURED = row("planted spikes in the picture", "%", Bar(100), more_is_better=True)
CURVES = row("curves drawn of 50", "curves", Bar(50), more_is_better=True)
CURVES_SENT = row("data sent for them", "KB")
HEAP = row("heap of the page", "MiB", Bar(100))


@dataclass(frozen=True)
class Timed:
    """A page's wall time, and the CPU seconds of the server's and the browser's processes until then."""

    wall: Row
    server: Row
    browser: Row

    @property
    def rows(self) -> list[Row]:
        return [self.wall, self.server, self.browser]


def timed(what: str, bar: Bar) -> Timed:
    return Timed(row(what, "s", bar), row("  CPU of the server", "s"), row("  CPU of the browser", "s"))


RUNS_TIME = timed("runs page of 1 000 until usable", Bar(0.7, times_mlflow=3))
LONG_TIME = timed("1 000 000 points until drawn", Bar(1.0))
FIFTY_TIME = timed("50 runs × 10 000 points until drawn", Bar(1.0))
RUNS_ROWS = [SCRIPT, REQUESTS, *RUNS_TIME.rows, ROWS]
LONG_ROWS = [*LONG_TIME.rows, DATA_SENT, SPIKES, PICTURED]
FIFTY_ROWS = [*FIFTY_TIME.rows, CURVES, CURVES_SENT, HEAP]


def opened(visit: Visit, browser: Browser, server: Running, page: Page, written: Written, figures: Timed) -> None:
    """Open a page and note what it took, after another visit, which finds server and browser without their own code."""
    path = page.path.format(experiment=written.experiment, run=written.runs[0], runs=",".join(written.runs))
    with browser.visit(server) as first:
        first.open(path, page.condition)
        first.settle()
    browser.wait_until_quiet()  # the first page's process has ended then, and no longer counts
    before = server_cpu_s(server), browser.cpu_s()
    seconds = visit.open(path, page.condition)
    used = server_cpu_s(server) - before[0], browser.cpu_s() - before[1]
    for figure, value in zip(figures.rows, (seconds, *used), strict=True):
        figure.rounds[server.name].append(value)
    visit.settle()


def measure_runs(server: Running, browser: Browser, written: Written, sizes: Sizes) -> None:
    page = RUNS[server.name]
    with browser.visit(server) as visit:
        opened(visit, browser, server, page, written, RUNS_TIME)
        SCRIPT.rounds[server.name].append(visit.script_and_style_bytes() / 1000)
        REQUESTS.rounds[server.name].append(len(visit.sent))
        selector = page.condition.partition("querySelectorAll('")[2].partition("')")[0]
        shown = visit.page.evaluate("selector => document.querySelectorAll(selector).length", selector)
        ROWS.rounds[server.name].append(shown)


def measure_fifty(server: Running, browser: Browser, written: Written, sizes: Sizes) -> None:
    page = FIFTY[server.name]
    with browser.visit(server) as visit:
        opened(visit, browser, server, page, written, FIFTY_TIME)
        assert page.drawn is not None
        CURVES.rounds[server.name].append(page.drawn(visit))
        CURVES_SENT.rounds[server.name].append(visit.sent_bytes(part=page.data) / 1000)
        HEAP.rounds[server.name].append(visit.heap_mb())


_pictures: Path | None = None


def keep_pictures(folder: Path) -> None:
    """Keep a picture of what each product draws of the long metric, to be laid side by side."""
    global _pictures
    folder.mkdir(parents=True, exist_ok=True)
    _pictures = folder


def measure_long(server: Running, browser: Browser, written: Written, sizes: Sizes) -> None:
    page = LONG[server.name]
    with browser.visit(server) as visit:
        opened(visit, browser, server, page, written, LONG_TIME)
        DATA_SENT.rounds[server.name].append(visit.sent_bytes(part=page.data) / 1000)
        values, spikes = long_metric(sizes)
        columns = columns_asked(visit) if server.name == OURS else round(1 / COLUMN_SHARE)
        expected = outstanding(values, spikes, columns)
        fetched = {as_float32(float(text)) for body in visit.bodies(page.data) for text in NUMBERS.findall(body)}
        found = sum(as_float32(spike.value) in fetched for spike in expected)
        SPIKES.rounds[server.name].append(100 * found / len(expected))
        if server.name == OURS:
            PICTURED.rounds[server.name].append(100 * pictured(visit, expected) / len(expected))
        if _pictures is not None:
            visit.page.screenshot(path=_pictures / f"{sizes.points} points, {server.name}.png")


def columns_asked(visit: Visit) -> int:
    asked = next(each.url for each in visit.sent.values() if "curves.json" in each.url)
    return int(asked.partition("points=")[2].partition("&")[0])


def outstanding(values: list[float], spikes: list[Spike], columns: int) -> list[Spike]:
    """The spikes that are the highest or the lowest value within a column's width to either side."""
    width = -(-len(values) // columns)
    found = []
    for spike in spikes:
        around = values[max(0, spike.step - width) : spike.step + width + 1]
        if spike.value in (max(around), min(around)):
            found.append(spike)
    return found


def as_float32(value: float) -> float:
    return float(struct.unpack("f", struct.pack("f", value))[0])


PLACE_OF_PLOT = """() => {
  const chart = document.querySelector('metric-chart');
  const {left, top, width, height} = chart.querySelector('.u-over').getBoundingClientRect();
  return {left, top, width, height, x: chart.ranges.x, y: chart.ranges.y};
}"""
INKED = """async ([picture, places]) => {
  const image = new Image();
  image.src = 'data:image/png;base64,' + picture;
  await image.decode();
  const canvas = new OffscreenCanvas(image.width, image.height);
  const context = canvas.getContext('2d');
  context.drawImage(image, 0, 0);
  const {data, width} = context.getImageData(0, 0, image.width, image.height);
  const hasColour = (x, y) => {  // the curve's, for the grid and the letters are grey
    const [red, green, blue] = data.subarray(4 * (y * width + x), 4 * (y * width + x) + 3);
    return Math.max(red, green, blue) - Math.min(red, green, blue) > 40;
  };
  return places.filter(([x, y]) => {
    for (const across of [-1, 0, 1]) for (const up of [-1, 0, 1]) {
      if (hasColour(Math.floor(x) + across, Math.floor(y) + up)) return true;
    }
    return false;
  }).length;
}"""


def pictured(visit: Visit, spikes: list[Spike]) -> int:
    """How many spikes have the curve's colour at their place in a screenshot, a pixel to either side allowed."""
    plot: Any = visit.page.evaluate(PLACE_OF_PLOT)
    (left, right), (bottom, top) = plot["x"], plot["y"]
    places = [
        (
            plot["left"] + (spike.step - left) / (right - left) * plot["width"],
            plot["top"] + (top - spike.value) / (top - bottom) * plot["height"],
        )
        for spike in spikes
    ]
    picture = base64.b64encode(visit.page.screenshot()).decode()
    reader = visit.context.new_page()  # a blank one, which no policy keeps from decoding the picture
    try:
        return int(reader.evaluate(INKED, [picture, places]))
    finally:
        reader.close()
