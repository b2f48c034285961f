"""`amlstore doctor`."""

import sys
from pathlib import Path

import click

from mlflow_amlstore.cli.output import print_json, print_rows
from mlflow_amlstore.cli.workspace_option import workspace_option
from mlflow_amlstore.diagnosis.examination import examine_installation, examine_workspace
from mlflow_amlstore.diagnosis.finding import Finding


@click.command("doctor")
@workspace_option
@click.option("--deep", is_flag=True, help="Read each file's content and compare each index of an embedded workspace.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def command(workspace: Path | None, deep: bool, as_json: bool) -> None:
    """Check versions, who owns which URI scheme here, and the workspace: an embedded one's database and disk, what a
    service's or Azure ML's can do, and what this user may do there. Nothing is changed.

    Exits with 1 where something needs doing.
    """
    findings: list[Finding] = [*examine_installation(), *examine_workspace(workspace, deep=deep)]
    if as_json:
        print_json(
            [
                {"check": found.check, "is_ok": found.is_ok, "detail": found.detail, "remedy": found.remedy}
                for found in findings
            ]
        )
    else:
        print_rows(
            ["", "check", "found", "what to do"],
            [("ok" if found.is_ok else "!!", found.check, found.detail, found.remedy) for found in findings],
            wrap=["found", "what to do"],
        )
    if not all(found.is_ok for found in findings):
        sys.exit(1)
