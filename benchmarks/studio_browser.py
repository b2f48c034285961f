"""A headless Chromium for `studio.py`: one visit to a page with a cold cache, what it was sent, and what it took."""

import contextlib
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from servers import cpu_s, process_tree
from service_servers import HOST, QUIET_S, Running
from studio_servers import OURS, session_cookie

sys.path.append(str(Path(__file__).resolve().parent.parent / "tests" / "studio"))

import chromium

SIZE = {"width": 1440, "height": 900}
DRAWN_TIMEOUT_MS = 120_000
QUIET_TIMEOUT_S = 10
SCRIPT_AND_STYLE = ("Script", "Stylesheet")

# Curves that a canvas draws: how often a path was stroked since the canvas was cleared.
COUNT_STROKES = """(() => {
  const context = CanvasRenderingContext2D.prototype;
  const {stroke, clearRect} = context;
  context.stroke = function (...given) {
    if (given.length) this.canvas.strokedPaths = (this.canvas.strokedPaths ?? 0) + 1;
    return stroke.apply(this, given);
  };
  context.clearRect = function (...given) {
    this.canvas.strokedPaths = 0;
    return clearRect.apply(this, given);
  };
})()"""
PAINTED = """() => new Promise(done =>
  requestAnimationFrame(() => setTimeout(() => done(performance.timeOrigin + performance.now())))
)"""


class Sent:
    """What the page was sent: of each request its address, its kind, and its bytes on the wire."""

    def __init__(self, url: str, kind: str) -> None:
        self.url = url
        self.kind = kind
        self.bytes = 0


class Visit:
    """One page in a context of its own, whose cache is empty."""

    def __init__(self, browser: Any, server: Running, cookie: tuple[str, str] | None) -> None:
        self.server = server
        self.context = browser.new_context(viewport=SIZE, locale="en-GB", timezone_id="UTC")
        if cookie is not None:
            self.context.add_cookies([{"name": cookie[0], "value": cookie[1], "domain": HOST, "path": "/"}])
        self.page = self.context.new_page()
        self.page.set_default_timeout(DRAWN_TIMEOUT_MS)
        self.page.add_init_script(COUNT_STROKES)
        self.answers: list[Any] = []
        self.failures: list[str] = []
        self.page.on("response", lambda answer: self.answers.append(answer))
        self.page.on("pageerror", lambda error: self.failures.append(str(error)))
        self.sent: dict[str, Sent] = {}
        self.devtools = self.context.new_cdp_session(self.page)
        self.devtools.on("Network.requestWillBeSent", self._when_asked)
        self.devtools.on("Network.dataReceived", self._when_received)
        self.devtools.on("Network.loadingFinished", self._when_sent)
        self.devtools.send("Network.enable")
        self.devtools.send("Performance.enable")

    def _when_asked(self, event: Any) -> None:
        self.sent[event["requestId"]] = Sent(event["request"]["url"], event.get("type", ""))

    def _when_received(self, event: Any) -> None:
        if event["requestId"] in self.sent:
            self.sent[event["requestId"]].bytes += event["encodedDataLength"]

    def _when_sent(self, event: Any) -> None:
        if event["requestId"] in self.sent:
            self.sent[event["requestId"]].bytes = int(event["encodedDataLength"])

    def open(self, path: str, condition: str, argument: object = None) -> float:
        """Go to a page. Returns the seconds until a condition held and a frame was painted with it."""
        began = time.time()
        self.page.goto(self.server.url + path, wait_until="commit")
        return self.seconds_until(condition, argument, began)

    def seconds_until(self, condition: str, argument: object, began: float) -> float:
        """The seconds since `began`, which is of `time.time()`, until a condition holds and a frame is painted."""
        self.page.wait_for_function(condition, arg=argument, polling="raf")
        return float(self.page.evaluate(PAINTED)) / 1000 - began

    def settle(self) -> None:
        """Wait until the network is quiet, so that all that was sent is counted."""
        with contextlib.suppress(Exception):  # a page that polls is never quiet
            self.page.wait_for_load_state("networkidle", timeout=5000)

    def sent_bytes(self, *kinds: str, part: str = "") -> int:
        """The bytes of the answers of some kinds, or of those whose address has a part."""
        return sum(each.bytes for each in self.sent.values() if (not kinds or each.kind in kinds) and part in each.url)

    def script_and_style_bytes(self) -> int:
        return self.sent_bytes(*SCRIPT_AND_STYLE)

    def heap_mb(self) -> float:
        """What the page's JavaScript holds after a collection of garbage."""
        self.devtools.send("HeapProfiler.collectGarbage")
        metrics = self.devtools.send("Performance.getMetrics")["metrics"]
        return next(each["value"] for each in metrics if each["name"] == "JSHeapUsedSize") / 2**20

    def bodies(self, part: str) -> list[str]:
        """The answers whose address has a part."""
        return [answer.text() for answer in self.answers if part in urlsplit(answer.url).path and answer.ok]

    def close(self) -> None:
        self.context.close()


class Browser:
    """A running Chromium."""

    def __init__(self, launched: Any) -> None:
        self.launched = launched
        self.pid = chromium_pid()

    @contextmanager
    def visit(self, server: Running) -> Iterator[Visit]:
        """A visit to a server; to ours, by somebody who is signed in."""
        cookie = session_cookie(server) if server.name == OURS else None
        visit = Visit(self.launched, server, cookie)
        try:
            yield visit
        finally:
            visit.close()

    def wait_until_quiet(self) -> None:
        """Wait until it hardly uses the CPU, which it does for a while after its start and after a page is closed."""
        deadline = time.perf_counter() + QUIET_TIMEOUT_S
        used_s = QUIET_S
        while used_s > 0.1 * QUIET_S and time.perf_counter() < deadline:
            before = self.cpu_s()
            time.sleep(QUIET_S)
            used_s = abs(self.cpu_s() - before)  # less than nothing where a process has ended

    def give_way(self) -> None:
        """Give all its threads the lowest priority, for good: it draws when nothing else needs the CPU."""
        for pid in process_tree(self.pid):
            with contextlib.suppress(FileNotFoundError, ProcessLookupError):
                for thread in Path(f"/proc/{pid}/task").iterdir():
                    os.setpriority(os.PRIO_PROCESS, int(thread.name), 19)

    def cpu_s(self) -> float:
        """What all its processes have used so far."""
        while True:
            with contextlib.suppress(FileNotFoundError, ProcessLookupError):
                return cpu_s(process_tree(self.pid))


@contextmanager
def browsing() -> Iterator[Browser]:
    """Chromium, as Debian has it."""
    from playwright.sync_api import sync_playwright

    path = chromium.find()
    if path is None:
        sys.exit("There is no Chromium: python tests/studio/chromium.py")
    with sync_playwright() as playwright:
        launched = playwright.chromium.launch(executable_path=path, args=[*chromium.ARGUMENTS])
        try:
            yield Browser(launched)
        finally:
            launched.close()


def chromium_pid() -> int:
    """The browser's first process: the one of this process's whose parent isn't the browser itself."""
    for pid in process_tree(os.getpid()):
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            if Path(f"/proc/{pid}/comm").read_text().startswith("chrom"):
                return pid
    raise RuntimeError("no process of Chromium's runs")
