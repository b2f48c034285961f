"""Tokens for the process of a run, as azureml-mlflow renews what it has in MLFLOW_TRACKING_TOKEN."""

import msgspec

from mlflow_amlstore.errors import TokenRefused
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
    """Issue a tracking token to the holder of a token, with which a run's process goes on."""
    if call.caller is None:
        raise TokenRefused("A run's token needs a token")
    check_run_in_experiment(call.records, call.path["experiment"], call.path["run"])
    issued = call.tokens.tracking_token(call.caller)
    return RunToken(issued.text, issued.expires)
