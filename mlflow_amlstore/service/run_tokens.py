"""Tokens for a run's process: azureml-mlflow asks for one to renew that in MLFLOW_TRACKING_TOKEN."""

import msgspec

from mlflow_amlstore.service.files.containers import check_run_in_experiment
from mlflow_amlstore.service.routing import Area, Call, Right, Role, Routes

ROUTES = Routes(Area.HISTORY)


class RunToken(msgspec.Struct, frozen=True, rename="camel"):
    """A tracking token and its end (UTC)."""

    token: str
    expiry_time_utc: str


@ROUTES.get("/experimentids/{experiment}/runs/{run}/token", Role.READER, Right.TRACK)
@ROUTES.get("/experiments/{experiment}/runs/{run}/token", Role.READER, Right.TRACK)
def run_token(call: Call) -> RunToken:
    """Issue a tracking token to a run's process, for the token that it has."""
    assert call.caller is not None  # as the route needs a role
    check_run_in_experiment(call.records, call.path["experiment"], call.path["run"])
    issued = call.tokens.tracking_token(call.caller)
    return RunToken(issued.text, issued.expires)
