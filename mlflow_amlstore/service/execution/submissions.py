"""A submitted script becomes a run: one that its submitter's machine runs, or one that waits for an agent."""

import time
from email.message import EmailMessage
from email.parser import BytesParser
from email.policy import HTTP
from typing import Any

import msgspec
from msgspec.structs import replace
from starlette.requests import Request
from starlette.responses import Response

from mlflow_amlstore.errors import BadRequest, InvalidValue, PayloadTooLarge
from mlflow_amlstore.records.types import (
    AGENTS,
    LOCAL_TARGET,
    RUN_TYPE_PROPERTY,
    SCRIPT_RUN,
    SNAPSHOT_PROPERTY,
    RunRecord,
    RunStatus,
)
from mlflow_amlstore.records.validation import check_run_id
from mlflow_amlstore.runner.definition import check_definition
from mlflow_amlstore.runner.launch import new_run_id
from mlflow_amlstore.service.acting import as_one_write
from mlflow_amlstore.service.addresses import tracking_root
from mlflow_amlstore.service.execution.environments import with_definition
from mlflow_amlstore.service.execution.invocation import invocation_zip
from mlflow_amlstore.service.files.transfer import on_thread
from mlflow_amlstore.service.routing import Area, Call, Right, Role, Routes
from mlflow_amlstore.service.run_history.experiments import experiment_of

ROUTES = Routes(Area.EXECUTION)

_MOST_BYTES = 32 * 1024 * 1024  # the SDK sends its settings' folders along, of at most 25 MB


class Submission(msgspec.Struct, frozen=True, rename="pascal"):
    """What the SDK sends of a submission; `display_name`, `tags`, `properties` and `user_name` are ours."""

    configuration: dict[str, Any]
    snapshot_id: str | None = None
    parent_run_id: str | None = None
    display_name: str | None = None
    tags: dict[str, str] = {}
    properties: dict[str, str] = {}
    user_name: str = ""


class RunId(msgspec.Struct, frozen=True, rename="camel"):
    """The run that a submission became."""

    run_id: str


class RunTicket(msgspec.Struct, frozen=True, rename="camel"):
    """What a run's runner tracks with: the run's own token, and its end (UTC)."""

    run_id: str
    experiment_id: str
    token: str
    expiry_time_utc: str


@ROUTES.post("/experiments/{experiment}/runs/{run}/local", Role.CONTRIBUTOR, Right.SUBMIT)
def submit_local(call: Call, body: Submission) -> RunTicket:
    """Record a run whose runner the submitter starts."""
    return _local(call, call.path["run"], body)


@ROUTES.post("/experiments/{experiment}/runs/{run}/agents", Role.SUBMITTER, Right.SUBMIT)
def submit_to_agents(call: Call, body: Submission) -> RunId:
    """Record a run that waits for an agent of its target."""
    return RunId(_to_agents(call, call.path["run"], body))


@ROUTES.post("/experiments/{experiment}/snapshotrun", Role.SUBMITTER, Right.SUBMIT)
async def snapshot_run(call: Call, request: Request) -> Response:
    """As the SDK calls it: record a run that waits for an agent of its target."""
    try:
        submission = msgspec.json.decode(await _body(request), type=Submission)
    except msgspec.MsgspecError as error:
        raise BadRequest(str(error)) from error
    run_id = await on_thread(as_one_write, call, lambda: _to_agents(call, _run_id(call, request), submission))
    return Response(msgspec.json.encode(RunId(run_id)), media_type="application/json")


@ROUTES.post("/experiments/{experiment}/localrun", Role.CONTRIBUTOR, Right.SUBMIT)
async def local_run(call: Call, request: Request) -> Response:
    """As the SDK calls it: record a run, and answer with a zip of what starts it on the submitter's machine."""
    submission = _sent(request.headers.get("content-type", ""), await _body(request))
    return await on_thread(_started_by_sdk, call, _run_id(call, request), submission)


def _run_id(call: Call, request: Request) -> str:
    """The id that the client chose for its run, in the query; else a new one."""
    given = request.query_params.get("runId")
    return check_run_id(given) if given else new_run_id(call.path["experiment"], int(time.time()))


async def _body(request: Request) -> bytes:
    pieces: list[bytes] = []
    size_bytes = 0
    async for piece in request.stream():
        pieces.append(piece)
        size_bytes += len(piece)
        if size_bytes > _MOST_BYTES:
            raise PayloadTooLarge(_MOST_BYTES)
    return b"".join(pieces)


def _started_by_sdk(call: Call, run_id: str, submission: Submission) -> Response:
    submission = replace(submission, configuration=with_definition(call, submission.configuration))
    ticket = as_one_write(call, lambda: _local(call, run_id, submission))
    root = tracking_root(call.base_url, call.workspace_name)
    zipped = invocation_zip(run_id, ticket.experiment_id, call.path["experiment"], root, ticket.token, submission)
    return Response(zipped, media_type="application/zip")


def _sent(content_type: str, body: bytes) -> Submission:
    """The `definition.json` among the parts of a multipart body. Raises BadRequest."""
    whole = BytesParser(EmailMessage, policy=HTTP).parsebytes(f"Content-Type: {content_type}\r\n\r\n".encode() + body)
    for part in whole.iter_parts():
        if part.get_filename() == "definition.json":
            try:
                return msgspec.json.decode(part.get_payload(decode=True), type=Submission)  # type: ignore[arg-type]
            except msgspec.MsgspecError as error:
                raise BadRequest(f"definition.json: {error}") from error
    raise BadRequest("The body must be multipart/form-data with a file definition.json among its parts")


def _local(call: Call, run_id: str, submission: Submission) -> RunTicket:
    assert call.caller is not None  # as the route needs a role
    check_definition(submission.configuration)
    record = _record(call, run_id, submission)
    call.records.run_leases.add(run_id, LOCAL_TARGET, call.caller.key_id, holder=LOCAL_TARGET)
    issued = call.tokens.run_token(call.caller.key_id, run_id)
    return RunTicket(run_id, record.info.experiment_id, issued.text, issued.expires)


def _to_agents(call: Call, run_id: str, submission: Submission) -> str:
    assert call.caller is not None  # as the route needs a role
    submission = replace(submission, configuration=with_definition(call, submission.configuration))
    check_definition(submission.configuration)
    target = str(submission.configuration.get("target") or LOCAL_TARGET)
    if call.records.compute_targets.get(target).kind != AGENTS:
        rule = "must be a pool of agents; `amlstore agent` makes one"
        raise InvalidValue("target", target, rule)
    _record(call, run_id, submission)
    call.records.runs.advance(run_id, RunStatus.QUEUED)
    call.records.run_leases.add(run_id, target, call.caller.key_id)
    return run_id


def _record(call: Call, run_id: str, submission: Submission) -> RunRecord:
    properties = {RUN_TYPE_PROPERTY: SCRIPT_RUN, **submission.properties}
    if submission.snapshot_id:
        properties[SNAPSHOT_PROPERTY] = submission.snapshot_id
    return call.records.runs.create(
        experiment_of(call).experiment_id,
        run_id=run_id,
        name=submission.display_name,
        user_id=submission.user_name,
        status=RunStatus.NOT_STARTED,
        parent_run_id=submission.parent_run_id,
        tags=submission.tags,
        properties=properties,
        definition=submission.configuration,
    )
