"""`RunDetails`: a run that is shown, by the SDK's name."""

import logging
import sys
from importlib import import_module
from importlib.util import find_spec
from typing import Any

from mlflow_amlstore.core import Run
from mlflow_amlstore.errors import InvalidValue
from mlflow_amlstore.records.types import RunRecord
from mlflow_amlstore.widgets.log_tail import LogTail
from mlflow_amlstore.widgets.text_view import text_of

_LOG_LINES = 1000
_logger = logging.getLogger(__name__)


class RunDetails:
    """A run to be shown: live in a notebook, as text elsewhere. It may have ended long ago.

    Raises InvalidValue for what is no run.

    >>> RunDetails(run).get_widget_data()["status"]
    'Running'
    """

    def __init__(self, run_instance: Run) -> None:
        given: object = run_instance
        if not isinstance(given, Run):
            rule = "must be a Run, as experiment.submit() and ws.get_run(ID) return it"
            raise InvalidValue("run_instance", given, rule)
        self._run = given
        self._widget: Any = None

    def show(self, render_lib: object = None, widget_settings: object = None) -> None:
        """Show the run: its status, charts, child runs and log.

        In JupyterLab, VS Code and marimo it is a widget, which is kept up to date until the run has ended (extra
        `notebook`). In a terminal or a script it is a text, as things are now. Returns at once: the SDK's waits until
        the run has ended where there is no notebook. The arguments are taken for old scripts' sake.
        """
        display = _notebook()
        if display is None:
            encoding = sys.stdout.encoding or "ascii"
            sys.stdout.write(text_of(self._run).encode(encoding, "backslashreplace").decode(encoding))
        elif find_spec("anywidget") is None:
            _logger.warning("The run is shown as it is now. To see it live: pip install 'mlflow-amlstore[notebook]'")
            display(self._run)
        else:
            display(self._live_widget())

    def close(self) -> None:
        """Take the widget out of the notebook's page, and watch the run no more."""
        if self._widget is not None:
            self._widget.close()
            self._widget = None

    def _live_widget(self) -> Any:
        if self._widget is None:
            from mlflow_amlstore.widgets.run_widget import RunWidget

            self._widget = RunWidget(self._run)
        self._widget.watch()
        return self._widget

    def get_widget_data(self, widget_settings: object = None) -> dict[str, Any]:
        """Return what is shown, under the SDK's names: `status`, `run_id`, `workbench_run_details_uri`,
        `run_properties`, `run_metrics` (a list of `name`, `run_id`, `categories`, `series`), `run_logs` (the end of the
        log), `child_runs` (a list), `children_metrics`, `graph` and `widget_settings`.
        """
        run = self._run
        run.flush()  # what this process has logged
        run.get_status()
        record = run._records.runs.whole(run.id)
        children = list(run.get_children())
        return {
            "status": record.info.status.value,
            "workbench_run_details_uri": run.get_portal_url(),
            "run_id": run.id,
            "run_properties": {**_facts(record), "log_files": run.get_details()["logFiles"]},
            "child_runs": [_child(child) for child in children],
            "children_metrics": {child.id: _metrics(child) for child in children},
            "run_metrics": _metrics(run),
            "run_logs": "\n".join(LogTail(run).last_lines(_LOG_LINES)),
            "graph": {},
            "widget_settings": widget_settings if isinstance(widget_settings, dict) else {},
        }


def _facts(record: RunRecord) -> dict[str, Any]:
    info = record.info
    return {
        "run_id": info.run_id,
        "run_number": info.number,
        "run_name": info.name,
        "status": info.status.value,
        "created_utc": info.created_ms,
        "start_time_utc": info.start_ms,
        "end_time_utc": info.end_ms,
        "properties": record.properties,
        "tags": record.own_tags,
    }


def _child(run: Run) -> dict[str, Any]:
    return _facts(run._now())


def _metrics(run: Run) -> list[dict[str, Any]]:
    found = []
    for metric in run._records.metrics.list_metrics(run.id):
        series = [{"name": column or metric.name, "data": cells} for column, cells in metric.columns.items()]
        rows = max((len(cells) for cells in metric.columns.values()), default=0)
        found.append({"name": metric.name, "run_id": run.id, "categories": list(range(rows)), "series": series})
    return found


def _notebook() -> Any:
    """What shows an object in this process's notebook; None where there is none."""
    marimo = sys.modules.get("marimo")
    if marimo is not None and marimo.running_in_notebook():
        return lambda shown: marimo.output.append(_in_marimo(marimo, shown))
    ipython = sys.modules.get("IPython")
    shell = None if ipython is None else ipython.get_ipython()
    if shell is None or not hasattr(shell, "kernel"):
        return None
    return import_module("IPython.display").display


def _in_marimo(marimo: Any, shown: Any) -> Any:
    return marimo.ui.anywidget(shown) if hasattr(shown, "_esm") else shown
