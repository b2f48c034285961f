"""Draws the README's picture of Studio, docs/studio.png: the runs of the diabetes example, trained with several alphas.

python tests/docs/studio_picture.py [--words]

What can be read in the picture stands in the file, too, so that a test sees when it is out of date. With --words the
script only prints what can be read on the page, as a list in JSON.
"""

import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path

from PIL import Image
from PIL.PngImagePlugin import PngInfo
from playwright.sync_api import Page, sync_playwright

ROOT = Path(__file__).parents[2]
PICTURE = ROOT / "docs" / "studio.png"
SIZE = (1280, 440)
ALPHAS = (0.01, 0.02, 0.05, 0.1, 0.2, 0.4, 0.8, 1.6)
_TRAIN = """
import sys
import mlflow
from pathlib import Path
sys.path.insert(0, sys.argv[1])
import track_diabetes as example
workspace = example.open_workspace(Path("amlstore-workspace"))
mlflow.set_tracking_uri(workspace.get_mlflow_tracking_uri())
mlflow.set_experiment(example.EXPERIMENT)
for alpha in sys.argv[2:]:
    example.train(float(alpha))
"""
_CHANGING = (
    (r"\b[a-z]+-[a-z]+-\d+\b", "NAME"),
    (r"\d{4}-\d\d-\d\d \d\d:\d\d", "TIME"),
    (r"\b\d+:\d\d(\.\d)?\b", "LENGTH"),
)


@contextmanager
def page_of_the_example() -> Iterator[Page]:
    """The page of the experiment's runs in a browser, as somebody sees it who ran the example and `amlstore studio`."""
    sys.path.insert(0, str(ROOT / "tests" / "studio"))
    import chromium

    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        train = [sys.executable, "-W", "ignore", "-c", _TRAIN, str(ROOT / "examples"), *map(str, ALPHAS)]
        subprocess.run(train, cwd=folder, check=True, capture_output=True)
        command = [
            Path(sys.executable).with_name("amlstore"),
            "studio",
            "amlstore-workspace",
            "--no-open",
            "--port",
            "0",
        ]
        studio = subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        assert studio.stdout is not None
        browser = playwright.chromium.launch(executable_path=chromium.find(), args=list(chromium.ARGUMENTS))
        try:
            page = browser.new_page(viewport={"width": SIZE[0], "height": SIZE[1]}, locale="en-GB")
            page.goto(studio.stdout.readline().strip())
            page.get_by_role("link", name="Experiments").click()
            page.get_by_role("link", name="diabetes", exact=True).first.click()
            page.get_by_role("link", name="alpha", exact=True).click()
            page.wait_for_url("**sort=params.alpha*")
            page.wait_for_function("() => [...document.querySelectorAll('metric-chart')].every(chart => chart.isDrawn)")
            yield page
        finally:
            browser.close()
            studio.terminate()
            studio.communicate()


def words(page: Page) -> list[str]:
    """What can be read on the page, without what differs between two that follow the same steps."""
    text = page.locator("body").inner_text()
    for pattern, name in _CHANGING:
        text = re.sub(pattern, name, text)
    return text.split()


def words_in(picture: Path) -> list[str]:
    """What can be read in a picture, as it stands in its file."""
    with Image.open(picture) as image:
        return str(image.info.get("words", "")).split()


def draw() -> None:
    """Write the picture anew."""
    with page_of_the_example() as page:
        info = PngInfo()
        info.add_text("words", " ".join(words(page)))
        with Image.open(BytesIO(page.screenshot())) as image:
            image.quantize(256).save(PICTURE, optimize=True, pnginfo=info)


if __name__ == "__main__":
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    if sys.argv[1:] == ["--words"]:
        with page_of_the_example() as page_now:
            print(json.dumps(words(page_now)))
    else:
        draw()
