"""A JupyterLab of its own, and a notebook in it as a person has it in a browser."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

import nbformat
from waiting import wait_for

SETTLED_MS = 60_000  # how long a kernel may take to start before a test gives up; none measures speed
_NO_NEWS = {"disabledExtensions": {"@jupyterlab/apputils-extension:announcements": True}}
_OPTIONS = (
    "--no-browser",
    "--allow-root",
    "--expose-app-in-browser",
    "--ServerApp.ip=127.0.0.1",
    "--ServerApp.port=0",
    "--IdentityProvider.token=",
    "--ServerApp.disable_check_xsrf=True",
)


class JupyterLab:
    """A running JupyterLab, whose notebooks lie in `folder`."""

    def __init__(self, url: str, folder: Path) -> None:
        self.url, self.folder = url, folder

    def write(self, name: str, cells: Sequence[str]) -> None:
        """Write a notebook."""
        notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells])
        notebook.metadata.kernelspec = {"name": "python3", "display_name": "Python 3", "language": "python"}
        nbformat.write(notebook, self.folder / name)

    def open(self, page: Any, name: str) -> "Notebook":
        """Open a notebook in a page of a browser."""
        page.set_default_timeout(SETTLED_MS)
        page.goto(f"{self.url}doc/tree/{quote(name)}")
        page.wait_for_function("window.jupyterapp?.shell.currentWidget?.context?.isReady")
        page.wait_for_function(
            "window.jupyterapp.shell.currentWidget.sessionContext.session?.kernel?.status === 'idle'"
        )
        return Notebook(page)


class Notebook:
    """A notebook in a page."""

    def __init__(self, page: Any) -> None:
        self.page = page

    def command(self, name: str, **arguments: object) -> None:
        """Do what a menu of JupyterLab's does."""
        self.page.evaluate("([name, given]) => void jupyterapp.commands.execute(name, given)", [name, arguments])

    def run(self) -> None:
        """Run all cells; returns at once."""
        self.command("notebook:run-all-cells")

    @property
    def is_busy(self) -> bool:
        """Whether its kernel works on a cell."""
        return "[*]:" in self.page.locator(".jp-InputPrompt").all_text_contents()


@contextmanager
def jupyter_lab(folder: Path) -> Iterator[JupyterLab]:
    """Start a JupyterLab with settings of its own."""
    notebooks, settings = folder / "notebooks", folder / "settings"
    notebooks.mkdir(parents=True)
    (settings / "labconfig").mkdir(parents=True)
    (settings / "labconfig" / "page_config.json").write_text(json.dumps(_NO_NEWS))
    places = {
        "JUPYTER_CONFIG_DIR": settings,
        "JUPYTER_DATA_DIR": folder / "data",
        "JUPYTER_RUNTIME_DIR": folder / "runtime",
        "JUPYTERLAB_SETTINGS_DIR": settings / "user",
        "IPYTHONDIR": folder / "ipython",
    }
    environment = {**os.environ, **{name: str(place) for name, place in places.items()}}
    command = [sys.executable, "-m", "jupyterlab", *_OPTIONS, f"--ServerApp.root_dir={notebooks}"]
    with (folder / "jupyterlab.log").open("wb") as log:
        process = subprocess.Popen(command, env=environment, stdout=log, stderr=log, stdin=subprocess.DEVNULL)
    try:
        yield JupyterLab(_url_of(process, folder), notebooks)
    finally:
        process.terminate()
        process.wait()


def _url_of(process: "subprocess.Popen[bytes]", folder: Path) -> str:
    def found() -> str:
        assert process.poll() is None, (folder / "jupyterlab.log").read_text(errors="replace")
        for file in (folder / "runtime").glob("jpserver-*.json"):
            text = file.read_text()
            if text:
                return str(json.loads(text)["url"])
        return ""

    return wait_for(found)
