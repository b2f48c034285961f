"""The token of a submitted job: it comes in environment variables, and is renewed at the service for its run.

The variables are those that Azure ML sets for a job (azureml-wire.md, section 3): MLFLOW_TRACKING_TOKEN or
AZUREML_RUN_TOKEN is the token; the run is MLFLOW_RUN_ID or AZUREML_RUN_ID, its experiment MLFLOW_EXPERIMENT_ID or
AZUREML_EXPERIMENT_ID, or by name MLFLOW_EXPERIMENT_NAME or AZUREML_ARM_PROJECT_NAME.
"""

import os
import time
from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from urllib.parse import unquote

from mlflow_amlstore.client.http.backoff import Backoff
from mlflow_amlstore.client.http.service_call import BearerRefused, ServiceCall, segment
from mlflow_amlstore.client.tokens.credentials import Credential
from mlflow_amlstore.client.tokens.tracking_token import TrackingToken, lifetime_of, token_just_issued, token_of_uri
from mlflow_amlstore.errors import ServiceUnreachable, TokenRefused, TrackingUriInvalid
from mlflow_amlstore.protocol.times import time_ms
from mlflow_amlstore.workspace.tracking_uri import TrackingUri, parse

_TOKEN_VARIABLES = ("MLFLOW_TRACKING_TOKEN", "AZUREML_RUN_TOKEN")
_ARM_VARIABLES = ("AZUREML_ARM_SUBSCRIPTION", "AZUREML_ARM_RESOURCEGROUP", "AZUREML_ARM_WORKSPACE_NAME")
_UNKNOWN_LIFETIME_S, _SHORTEST_LIFETIME_S = 3600.0, 60.0  # of a token that doesn't say itself when it ends


class RunTokens:
    """Tokens of one run, which a job was started with."""

    is_for_uris = False
    needs_keeping_alive = True
    goes_by_key = False
    credential: Credential | None = None

    def __init__(self, uri: TrackingUri, variable: str, route: str) -> None:
        """`route` is where the token is renewed."""
        self._uri, self._variable, self._route = uri, variable, route

    def use(self, credential: Credential) -> None:
        self.credential = credential

    def first(self) -> TrackingToken | None:
        text = os.environ.get(self._variable, "").strip()
        return token_of_uri(text, None) if text else None

    def fetch(self, held: TrackingToken | None, backoff: Backoff, problem: str) -> TrackingToken:
        if held is None:
            raise TokenRefused(f"{self._variable} was taken out of the environment", _WAY_OUT)
        asked_at_s = time.monotonic()
        call = ServiceCall("GET", self._uri.service_url, self._route, backoff=backoff)
        try:
            answer = call.send(held.text)
        except BearerRefused as refused:
            raise TokenRefused(f"The run's token can't be renewed: {problem or refused.problem}", _WAY_OUT) from None
        try:
            text, expires = str(answer["token"]), answer.get("expiryTimeUtc")
        except (KeyError, TypeError, AttributeError) as error:
            raise ServiceUnreachable(self._uri.service_url, "it answered without a run's token") from error
        return token_just_issued(text, lifetime_of(text) or _left_s(expires), asked_at_s)

    def tell_children(self, token: TrackingToken) -> None:
        """Where the environment has the run's token, put the living one there."""
        if self._variable in os.environ:
            os.environ[self._variable] = token.text


_WAY_OUT = "Start the job again, or get a fresh tracking URI for it with get_mlflow_tracking_uri()"


def run_tokens(uri: TrackingUri, environment: Mapping[str, str]) -> RunTokens | None:
    """The source of tokens that this environment has for a workspace; None where it has none, or not this one's."""
    variable = token_variable(uri, environment)
    run = environment.get("MLFLOW_RUN_ID") or environment.get("AZUREML_RUN_ID")
    experiment_id = environment.get("MLFLOW_EXPERIMENT_ID") or environment.get("AZUREML_EXPERIMENT_ID")
    name = environment.get("MLFLOW_EXPERIMENT_NAME") or environment.get("AZUREML_ARM_PROJECT_NAME")
    if variable is None or not run or not (experiment_id or name):
        return None
    experiment = f"experimentids/{segment(experiment_id)}" if experiment_id else f"experiments/{segment(name or '')}"
    return RunTokens(uri, variable, f"/history/v1.0{uri.workspace_path}/{experiment}/runs/{segment(run)}/token")


def token_variable(uri: TrackingUri, environment: Mapping[str, str]) -> str | None:
    """The variable that has a token for this workspace: the environment must name it, so that no other host gets it."""
    variable = next((name for name in _TOKEN_VARIABLES if environment.get(name, "").strip()), None)
    return variable if variable is not None and _is_meant(uri, environment) else None


def _is_meant(uri: TrackingUri, environment: Mapping[str, str]) -> bool:
    named = environment.get("MLFLOW_TRACKING_URI")
    if named:
        try:
            return parse(named).is_same_store(uri)
        except TrackingUriInvalid:
            return False
    subscription, group, workspace = (environment.get(name) for name in _ARM_VARIABLES)
    try:
        parts = unquote(uri.workspace_path).split("/")
    except TrackingUriInvalid:
        return False
    return (parts[2], parts[4], parts[-1]) == (subscription, group, workspace)


def _left_s(expires: object) -> float:
    """How long a token lives that says only when it ends: by this machine's clock, which may be wrong."""
    try:
        ends_ms = time_ms(str(expires))
    except ValueError:
        try:
            ends_ms = round(parsedate_to_datetime(str(expires)).timestamp() * 1000)
        except ValueError:
            return _UNKNOWN_LIFETIME_S
    return max(_SHORTEST_LIFETIME_S, ends_ms / 1000 - time.time())
