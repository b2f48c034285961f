"""The widget of a run: an anywidget, which JupyterLab, VS Code and marimo show. Needs the extra `notebook`."""

import logging
import threading
from typing import Any

import anywidget
import traitlets

from mlflow_amlstore.core import Run
from mlflow_amlstore.errors import AmlStoreError, InvalidValue
from mlflow_amlstore.widgets.browser_code import module_text
from mlflow_amlstore.widgets.live_run import LiveRun
from mlflow_amlstore.widgets.log_tail import PIECES
from mlflow_amlstore.widgets.metric_parts import MOST_CHARTS, part_of_curve

_NAMES = ("head", "shown", "children", "problem", "log")
_logger = logging.getLogger(__name__)


class RunWidget(anywidget.AnyWidget):
    """A run in a notebook's page. What `LiveRun` publishes are its traits, one for each name.

    So the page has all of it whenever it begins to look, also while the kernel works on a cell, and is sent again what
    has changed alone. What the page asks for are messages `{"id", "ask", …}`, each answered by `{"id", "answer"}` or
    `{"id", "error"}`: `hello` and `bye` of a view, `show` (`run_id`, `log`), `curve` (`metric`, `x`, `points`, `from`,
    `to`), `image` (`path`).
    """

    def __init__(self, run: Run) -> None:
        self._esm = module_text()
        self._live = LiveRun(run, self._publish)
        self._views: set[str] = set()
        self._publishing = threading.Lock()
        names = [*_NAMES, *(f"part_{n}" for n in range(MOST_CHARTS)), *(f"log_{n}" for n in range(PIECES))]
        self.add_traits(**{name: traitlets.Any(None).tag(sync=True) for name in names})
        super().__init__(**self._live.look())
        self.on_msg(self._asked)

    def watch(self) -> None:
        """Keep it up to date until the run has ended or it is closed."""
        self._live.start()

    def close(self) -> None:
        """Take it out of the page, and watch the run no more."""
        self._live.stop()
        super().close()

    @property
    def is_watching(self) -> bool:
        """Whether it is kept up to date."""
        return self._live.is_watched

    def _publish(self, changes: dict[str, Any]) -> None:
        with self._publishing, self.hold_sync():
            for name, value in changes.items():
                self.set_trait(name, value)

    def _asked(self, _widget: object, content: dict[str, Any], _buffers: object) -> None:
        given = {key: value for key, value in content.items() if key not in ("id", "ask")}
        try:
            answer = self._answer(content.get("ask"), given)
        except AmlStoreError as error:
            self.send({"id": content.get("id"), "error": str(error)})
        except (KeyError, TypeError, ValueError) as error:
            _logger.warning("A message of the widget's page can't be read: %r", error)
        else:
            self.send({"id": content.get("id"), "answer": answer})

    def _answer(self, ask: object, given: dict[str, Any]) -> object:
        if ask == "hello":
            self._views.add(str(given["view"]))
            self._live.start()
        elif ask == "bye":
            self._views.discard(str(given["view"]))
            if not self._views:
                self._live.stop()
        elif ask == "show":
            self._live.show(str(given["run_id"]), given.get("log"))
        elif ask == "curve":
            window = (int(given["from"]), int(given["to"])) if "from" in given else None
            name, x, columns = str(given["metric"]), str(given["x"]), int(given["points"])
            return part_of_curve(self._live.shown, name, x, columns, window)
        elif ask == "image":
            return self._live.image(str(given["path"]))
        else:
            raise InvalidValue("ask", ask, "must be hello, bye, show, curve or image")
        return None
