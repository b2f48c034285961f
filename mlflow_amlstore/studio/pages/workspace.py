"""`/`: the workspace: what runs now, what ran last, and how to log into it from here."""

import json

import msgspec

from mlflow_amlstore.records.search.grammars import RUNS
from mlflow_amlstore.records.types import RunRecord
from mlflow_amlstore.service.addresses import RESOURCE_GROUP, SUBSCRIPTION_ID, tracking_root
from mlflow_amlstore.service.routing import Area, Call, Content, Right, Role, Routes
from mlflow_amlstore.studio.columns import default_columns
from mlflow_amlstore.studio.page import NoQuery, Pages
from mlflow_amlstore.studio.run_rows import Heading, RunRow, experiment_names, plain_headings, run_rows

PAGES = Pages()
ROUTES = Routes(Area.STUDIO)
_LATEST = 10


class WorkspacePage(msgspec.Struct, frozen=True):
    """The workspace. `how_to_log` are lines to copy into a script."""

    name: str
    running: list[RunRow]
    latest: list[RunRow]
    headings: list[Heading]
    running_headings: list[Heading]
    how_to_log: str


@PAGES.page("/", "workspace.html")
def workspace(call: Call, query: NoQuery) -> WorkspacePage:
    """Show the workspace."""
    records = call.records
    running = records.runs.search(None, filter=RUNS.parse("attributes.status = 'RUNNING'"), max_results=20).items
    latest = records.runs.search(None, max_results=_LATEST).items
    running_rows, running_headings = _table(call, list(running))
    latest_rows, headings = _table(call, list(latest))
    return WorkspacePage(call.workspace_name, running_rows, latest_rows, headings, running_headings, _how_to_log(call))


@ROUTES.get("/config.json", Role.READER, Right.LOOK)
def config(call: Call) -> Content:
    """Give the config.json with which scripts on other machines open this workspace."""
    content = {
        "subscription_id": SUBSCRIPTION_ID,
        "resource_group": RESOURCE_GROUP,
        "workspace_name": call.workspace_name,
        "service_url": call.base_url,
    }
    headers = (("content-disposition", 'attachment; filename="config.json"'), ("x-content-type-options", "nosniff"))
    return Content(json.dumps(content, indent=4).encode(), "application/json", headers)


def _table(call: Call, runs: list[RunRecord]) -> tuple[list[RunRow], list[Heading]]:
    columns = default_columns(runs, with_experiment=True)
    rows = run_rows(call.records, runs, columns, experiment_names(call.records, runs))
    return rows, plain_headings(columns, rows)


def _how_to_log(call: Call) -> str:
    return (
        "import mlflow\n"
        f'mlflow.set_tracking_uri("{tracking_root(call.base_url, call.workspace_name)}")\n'
        'mlflow.log_metric("loss", 0.1)'
    )
