"""What `studio.py` asks of servers without a browser: pages with 100 000 runs; and logging while pages are open.

Pages are asked for over one kept-alive connection with a signed-in session. Before each a value is logged into the
workspace, and before every tenth a run is begun that has the same params and metrics as the others; both are answered
before the page is asked for, so none can be what was kept from before. MLflow is asked for the same by `runs/search`,
which has neither minimum, groups nor folding; it sorts by the last value where we sort by the minimum.
"""

import http.client
import json
import statistics
import time
from contextlib import ExitStack
from urllib.parse import urlencode

from load import percentile_ms
from service_servers import HOST, Api, Running, server_cpu_s, wait_until_quiet
from service_table import Bar, Row
from studio_browser import Browser
from studio_data import FAMILY, Written
from studio_servers import OURS, session_cookie
from studio_table import row

WARM_PAGES = 3
ROWS_OF_PAGE = 50
FILTER = "metrics.m1 < 0.1 and params.p1 = '3'"
OPEN_PAGES = 10

OUR_QUERIES = {
    "plain": {},
    "all experiments": {},
    "filtered": {"filter": FILTER},
    "sorted by the minimum of a metric": {"sort": "metrics.m1:min"},
    "filtered and sorted by a minimum": {"filter": FILTER, "sort": "metrics.m2:min"},
    "grouped by a param": {"group": "p1"},
    "children folded, one parent open": {"open": "PARENT"},
}
MLFLOW_SEARCHES = {
    "plain": {},
    "filtered": {"filter": FILTER},
    "sorted by the minimum of a metric": {"order_by": ["metrics.m1 ASC"]},
    "filtered and sorted by a minimum": {"filter": FILTER, "order_by": ["metrics.m2 ASC"]},
}
P95S = {what: row(f"p95, {what}", "ms", Bar(60)) for what in OUR_QUERIES}
P50S = {what: row("  p50", "ms") for what in OUR_QUERIES}
CPUS = {what: row("  CPU of the server, a page", "ms") for what in OUR_QUERIES}
SERVER_ROWS = [rows[what] for what in OUR_QUERIES for rows in (P95S, P50S, CPUS)]

RATE_ALONE = row("log-metric, one client, no page open", "requests/s", more_is_better=True)
RATE_WATCHED = row(f"the same with {OPEN_PAGES} pages open", "requests/s", more_is_better=True)
RATIO = row("the second of the first, paired", "%", Bar(95), more_is_better=True)
RATIO_APART = row("  the same, the browser drawing only when a core is free", "%", more_is_better=True)
P99_ALONE = row("p99, no page open", "ms")
P99_WATCHED = row(f"p99, {OPEN_PAGES} pages open", "ms")
CPU_ALONE = row("CPU of the server, no page open", "cores")
CPU_WATCHED = row(f"CPU of the server, {OPEN_PAGES} pages open", "cores")
BROWSER_WATCHED = row("CPU of the browser meanwhile", "cores")
LOG_ROWS: list[Row] = [
    RATE_ALONE, RATE_WATCHED, RATIO, RATIO_APART, P99_ALONE, P99_WATCHED, CPU_ALONE, CPU_WATCHED, BROWSER_WATCHED,
]  # fmt: skip


class Trickle:
    """What is logged before each page."""

    def __init__(self, server: Running, experiment: str) -> None:
        self.server = server
        self.experiment = experiment
        self.count = 0
        self.run_id = ""

    def log(self) -> None:
        now_ms = int(time.time() * 1000)
        api = Api(self.server)  # a new connection: a server may close one that is idle while it makes a page
        if self.count % 10 == 0:
            self.run_id = api.new_run(self.experiment)
            named = [{"key": f"p{each}", "value": str(self.count % 20)} for each in range(3)]
            metrics = [{"key": f"m{each}", "value": 0.5, "timestamp": now_ms, "step": 0} for each in range(3)]
            api.post("runs/log-batch", run_id=self.run_id, params=named, metrics=metrics)
        self.count += 1
        step = self.count
        api.post("runs/log-metric", run_id=self.run_id, key="m1", value=step / 1000, timestamp=now_ms, step=step)
        api.connection.close()


def measure_server(server: Running, written: Written, repeats: int) -> None:
    """The pages of ours, or the searches of MLflow's."""
    trickle = Trickle(server, written.experiment)
    connection = http.client.HTTPConnection(HOST, server.port, timeout=120)
    wait_until_quiet(server, windows=1)
    if server.name == OURS:
        name, value = session_cookie(server)
        headers = {"Cookie": f"{name}={value}", "Accept": "text/html", "Accept-Encoding": "gzip"}
        parent = written.runs[-FAMILY]  # the newest that has children
        requests = {}
        for what, query in OUR_QUERIES.items():
            asked = urlencode(query).replace("PARENT", parent)
            path = "/runs" if what == "all experiments" else f"/experiments/{written.experiment}/runs"
            requests[what] = ("GET", f"{path}?{asked}", None)
    else:
        headers = {"Content-Type": "application/json"}
        repeats = max(10, repeats // 5)  # for it takes seconds
        requests = {
            what: (
                "POST",
                "/api/2.0/mlflow/runs/search",
                json.dumps({"experiment_ids": [written.experiment], "max_results": ROWS_OF_PAGE, **search}),
            )
            for what, search in MLFLOW_SEARCHES.items()
        }
    for what, (method, path, body) in requests.items():
        took_s, used_s = [], 0.0
        for number in range(WARM_PAGES + repeats):
            trickle.log()
            before = server_cpu_s(server)
            began = time.perf_counter()
            connection.request(method, path, body, headers)
            answer = connection.getresponse()
            content = answer.read()
            seconds = time.perf_counter() - began
            if answer.status != 200:
                raise RuntimeError(f"{what}: {answer.status}: {content[:300]!r}")
            if number >= WARM_PAGES:
                took_s.append(seconds)
                used_s += server_cpu_s(server) - before
        P95S[what].rounds[server.name].append(percentile_ms(sorted(took_s), 0.95))
        P50S[what].rounds[server.name].append(statistics.median(took_s) * 1000)
        CPUS[what].rounds[server.name].append(used_s * 1000 / repeats)


def measure_logging(server: Running, browser: Browser, written: Written, seconds: float, pairs: int) -> None:
    """Short turns without and with ten pages open in the browser: five of runs, five of the run that is logged into.

    The pages have been open for some seconds and hear of changes. The browser needs the server's cores to draw what
    changes; in the last turns it draws only when one is free, as a browser elsewhere would take none from the server.
    """
    api = Api(server)
    run_id = api.new_run(written.experiment)
    first = 0

    def turn() -> tuple[float, float, float, float]:
        """Requests per second, p99 in ms, and the cores that server and browser used."""
        nonlocal first
        before = server_cpu_s(server), browser.cpu_s()
        rate, p99_ms, first = logged(api, run_id, seconds, first)
        used = (server_cpu_s(server) - before[0], browser.cpu_s() - before[1])
        return rate, p99_ms, used[0] / seconds, used[1] / seconds

    for gives_way in (False, True):
        if gives_way:
            browser.give_way()
        for _ in range(pairs):
            browser.wait_until_quiet()
            wait_until_quiet(server, windows=1)
            alone = turn()
            with ExitStack() as stack:
                for number in range(OPEN_PAGES):
                    visit = stack.enter_context(browser.visit(server))
                    path = f"/experiments/{written.experiment}/runs" if number % 2 else f"/runs/{run_id}"
                    visit.open(path, "() => document.querySelector('main') !== null")
                logged(api, run_id, seconds, first)  # in which each page loads what it needs for its first change
                first += 1_000_000
                watched = turn()
            if gives_way:
                RATIO_APART.rounds[OURS].append(100 * watched[0] / alone[0])
                continue
            RATIO.rounds[OURS].append(100 * watched[0] / alone[0])
            for one, (row_alone, row_watched) in enumerate(
                ((RATE_ALONE, RATE_WATCHED), (P99_ALONE, P99_WATCHED), (CPU_ALONE, CPU_WATCHED))
            ):
                row_alone.rounds[OURS].append(alone[one])
                row_watched.rounds[OURS].append(watched[one])
            BROWSER_WATCHED.rounds[OURS].append(watched[3])


def logged(api: Api, run_id: str, seconds: float, first: int) -> tuple[float, float, int]:
    """Log one value after another. Returns the requests per second, their p99 in ms, and the next step."""
    took_s: list[float] = []
    began = time.perf_counter()
    while time.perf_counter() - began < seconds:
        step = first + len(took_s)
        before = time.perf_counter()
        api.post("runs/log-metric", run_id=run_id, key="loss", value=step / 2, timestamp=1_800_000_000_000, step=step)
        took_s.append(time.perf_counter() - before)
    elapsed = time.perf_counter() - began
    return len(took_s) / elapsed, percentile_ms(sorted(took_s), 0.99), first + len(took_s)
