"""A person at the browser: signed in, and watching what the page asks for and complains of."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page

WIDE, NARROW = (1440, 900), (360, 740)
SETTLED_MS = 60_000  # how long a page may take before a test gives up; none measures speed


class Visit:
    """One page in a browser of its own, and what went on in it."""

    def __init__(self, page: Page, url: str) -> None:
        self.page = page
        self.url = url
        self.complaints: list[str] = []
        self.requests: list[str] = []
        page.set_default_timeout(SETTLED_MS)
        page.on(
            "console", lambda said: self.complaints.append(said.text) if said.type in ("error", "warning") else None
        )
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.on("request", lambda request: self.requests.append(request.url))
        page.on(
            "response",
            lambda answer: self.complaints.append(f"{answer.status} {answer.url}") if answer.status >= 400 else None,
        )

    def open(self, path: str) -> "Visit":
        """Go to a page, and wait until all that is in view is drawn."""
        self.page.goto(self.url + path, wait_until="load")
        self.settle()
        return self

    def settle(self) -> None:
        """Wait until what the page loads has started, and the charts in view are drawn."""
        self.page.wait_for_function(
            """() => document.querySelector('html[data-started], html:not(:has(script[src*="studio.js"]))')
            && [...document.querySelectorAll('metric-chart')].every(chart => {
                const box = chart.getBoundingClientRect();
                return box.top > innerHeight || chart.isDrawn;
            })"""
        )

    def violations(self) -> list[str]:
        """What axe finds against WCAG 2.2, levels A and AA."""
        tags = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"]
        results = Axe().run(self.page, options={"runOnly": {"type": "tag", "values": tags}})
        return [
            f"{found['id']}: {node['target']} {node['failureSummary']}"
            for found in results.response["violations"]
            for node in found["nodes"]
        ]

    def keep_picture(self, folder: Path, name: str) -> None:
        """Keep what is seen as a file of the test run."""
        folder.mkdir(parents=True, exist_ok=True)
        self.page.screenshot(path=folder / f"{name}.png")


@contextmanager
def visit(
    browser: Browser, url: str, state: dict[str, object], *, size: tuple[int, int] = WIDE, scheme: str = "light"
) -> Iterator[Visit]:
    """A visit with the cookies of `state`."""
    context = browser.new_context(
        viewport={"width": size[0], "height": size[1]},
        color_scheme=scheme,
        storage_state=state,
        locale="en-GB",
        timezone_id="Europe/Berlin",
    )
    try:
        yield Visit(context.new_page(), url)
    finally:
        context.close()
