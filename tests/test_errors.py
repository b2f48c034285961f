"""Every error of the package: its codes, its sentence, its place in the module."""

import inspect
import os
import pickle
import re
from pathlib import Path

import pytest
from fork_server import run_forked
from mlflow.exceptions import MlflowException
from mlflow.protos import databricks_pb2

from mlflow_amlstore import errors
from mlflow_amlstore.core import Workspace
from mlflow_amlstore.errors import AmlStoreError
from mlflow_amlstore.plugin.as_errors import as_mlflow_errors

# One error of each class, and what its sentence must have: the field or thing, the value, the rule, the way out.
EXAMPLES: dict[str, tuple[AmlStoreError, list[str]]] = {
    "AmlStoreError": (AmlStoreError("it failed"), ["it failed"]),
    "ActivityFailed": (
        errors.ActivityFailed("run7"),
        ["Activity Failed:\n", "Detailed error not set on the Run", "check the logs"],
    ),
    "AlreadyExists": (
        errors.AlreadyExists("experiment", "iris", "Choose another name"),
        ["Experiment", "'iris'", "already exists", "Choose another name"],
    ),
    "AttributeNotSupported": (
        errors.AttributeNotSupported("Workspace.datastores", "Read the data by its path"),
        ["Workspace.datastores", "not supported by mlflow-amlstore yet", "Read the data"],
    ),
    "BadRequest": (errors.BadRequest("The request's body is not JSON"), ["The request's body is not JSON"]),
    "BodyInvalid": (
        errors.BodyInvalid("Expected `int`, got `str` - at `$.step`"),
        ["Invalid request", "Expected `int`", "$.step"],
    ),
    "Changed": (
        errors.Changed("param", "run7", "lr", "0.1", "0.2"),
        ["param", "key='lr'", "'0.1'", "'0.2'", "run7", "is not allowed"],
    ),
    "ConfigInvalid": (
        errors.ConfigInvalid("/w/config.json", "path must be a string"),
        ["/w/config.json", "path must be"],
    ),
    "ConfigNotFound": (errors.ConfigNotFound(["/w", "/"]), ["config.json", "\n  /w\n  /\n", "amlstore init", "portal"]),
    "ConfigOfOthers": (
        errors.ConfigOfOthers("/w/config.json", "it names no workspace"),
        ["/w/config.json", "no workspace"],
    ),
    "ContentTypeNotSupported": (
        errors.ContentTypeNotSupported("Content-Type", "text/html", "application/json or text/csv"),
        ["Content-Type 'text/html'", "application/json or text/csv"],
    ),
    "Deleted": (errors.Deleted("run", "run7"), ["run run7", "'active' state", "deleted", "restore it first"]),
    "DiskFull": (errors.DiskFull("/w"), ["/w", "No space left", "not recorded", "Free some space"]),
    "EnvironmentFailed": (
        errors.EnvironmentFailed("old", "`uv pip install …` ended with 1", ["no such package: nope"]),
        ["environment 'old'", "ended with 1", "\n  no such package: nope"],
    ),
    "ExtraMissing": (
        errors.ExtraMissing("`amlstore serve`", "uvicorn", "service"),
        [
            "`amlstore serve`",
            "uvicorn",
            "not installed",
            "'mlflow-amlstore[service]'",
            "clone `pip install '.[service]'`",
        ],
    ),
    "FilterInvalid": (
        errors.FilterInvalid("metrics.a ~ 1", 10, "~", "expected a comparison"),
        ["'~'", "position 10", "expected a comparison", "\n  metrics.a ~ 1\n            ^"],
    ),
    "ImportNotSupported": (
        errors.ImportNotSupported("azureml.core.Dataset", "Read the data by its path"),
        ["azureml.core.Dataset", "not supported by mlflow-amlstore yet", "Read the data"],
    ),
    "InvalidState": (errors.InvalidState("it is deleted; restore it first"), ["it is deleted; restore it first"]),
    "InvalidValue": (
        errors.InvalidValue("metric name", "a?", "must be short"),
        ["metric name", "'a?'", "must be short"],
    ),
    "LocalFileFailed": (
        errors.LocalFileFailed("/here/x", "it is a folder", "Move it away"),
        ["/here/x on this machine", "it is a folder", "Move it away"],
    ),
    "LoginNeeded": (
        errors.LoginNeeded("https://h", "AMLSTORE_KEY: none"),
        ["No credential for https://h", "AMLSTORE_KEY: none", "`amlstore login https://h`", "amlstore keys create"],
    ),
    "ModelFailed": (
        errors.ModelFailed(ValueError("no such class")),
        ["The model failed", "ValueError: no such class", "log has the traceback"],
    ),
    "ModelNotLoaded": (
        errors.ModelNotLoaded("PickleNotAllowed", "it is a pickle; allow it"),
        ["can't be loaded", "it is a pickle; allow it"],
    ),
    "ModuleNotSupported": (
        errors.ModuleNotSupported("azureml.core.compute", "Start the script there"),
        ["azureml.core.compute", "not supported by mlflow-amlstore yet", "Start the script"],
    ),
    "NotAllowed": (errors.NotAllowed("This needs the role owner"), ["This needs the role owner"]),
    "NotFound": (errors.NotFound("run", "x", "`amlstore runs` lists them"), ["Run 'x' not found", "`amlstore runs`"]),
    "NotSupported": (
        errors.NotSupported("Tracing", "Use runs"),
        ["Tracing", "not supported by mlflow-amlstore yet", "Use"],
    ),
    "PageTokenInvalid": (
        errors.PageTokenInvalid("abc", "is of another query"),
        ["page_token", "'abc'", "is of another query", "start again without"],
    ),
    "PartlyRefused": (
        errors.PartlyRefused(3, ["b"], "it is too long"),
        ["values of 'b'", "it is too long"],
    ),
    "PathUnsafe": (
        errors.PathUnsafe("artifact path", "/x", "must be relative"),
        ["artifact path", "'/x'", "must be relative"],
    ),
    "PayloadTooLarge": (errors.PayloadTooLarge(1024), ["over 1024 bytes", "the most this route takes", "send less"]),
    "PredictionTimedOut": (errors.PredictionTimedOut(0.5), ["Scoring timeout after 500 ms", "send less at once"]),
    "ReadOnly": (errors.ReadOnly("/w"), ["/w", "read-only", "Give this user write permission"]),
    "ServiceBusy": (
        errors.ServiceBusy("other requests' bodies take all memory"),
        ["can't take this request now", "take all memory", "send it again"],
    ),
    "RequestTimedOut": (errors.RequestTimedOut(30.0), ["request's body", "30 s", "send it again"]),
    "RouteNotFound": (errors.RouteNotFound("GET", "/x"), ["GET '/x'", "no route", "/openapi.json"]),
    "SchemaTooNew": (errors.SchemaTooNew("/w", "0009", "0001"), ["/w", "0009", "0001", "Install a newer"]),
    "ScriptNotFound": (
        errors.ScriptNotFound("/src/train.py"),
        ["/src/train.py script path doesn't exist. The script should be inside the project folder"],
    ),
    "ServiceError": (
        errors.ServiceError("RESOURCE_DOES_NOT_EXIST", "Run 'x' not found", 404),
        ["Run 'x' not found"],
    ),
    "RayFailed": (
        errors.RayFailed("http://head:8265", "no connection"),
        ["http://head:8265", "no connection", "Check the compute target"],
    ),
    "ServiceUnreachable": (
        errors.ServiceUnreachable("https://h", "connection refused"),
        ["https://h", "connection refused", "Check the address"],
    ),
    "SourceFolderNotFound": (
        errors.SourceFolderNotFound("/src"),
        ["source_directory", "'/src'", "must be a folder that is there"],
    ),
    "StorageFailed": (errors.StorageFailed("/w", "I/O error"), ["/w", "I/O error", "Check the disk"]),
    "TokenRefused": (
        errors.TokenRefused("The tracking URI expired at noon"),
        ["expired at noon", "get_mlflow_tracking_uri()", "`amlstore uri`", "`amlstore login URL`"],
    ),
    "TooManyRequests": (errors.TooManyRequests(64), ["64 requests wait", "send it again after 1 s"]),
    "TrackingUriInvalid": (
        errors.TrackingUriInvalid("amlstore://x", "must be"),
        ["tracking URI", "'amlstore://x'", "must"],
    ),
    "TransferBroken": (
        errors.TransferBroken("a.bin", "it got shorter"),
        ["'a.bin'", "it got shorter", "Nothing was kept", "send it again"],
    ),
    "UnknownAttribute": (
        errors.UnknownAttribute("MpiConfiguration", "nodecount", ["process_count_per_node", "node_count"]),
        ["MpiConfiguration has no attribute 'nodecount'; it has node_count, process_count_per_node"],
    ),
    "WorkspaceBusy": (errors.WorkspaceBusy("/w", 60.0), ["/w", "60 s", "not recorded", "amlstore doctor"]),
    "WorkspaceCorrupt": (
        errors.WorkspaceCorrupt("/w", "malformed"),
        ["/w", "malformed", "Restore records.db from a copy, after removing records.db-wal"],
    ),
    "WorkspaceReplaced": (
        errors.WorkspaceReplaced("/w"),
        ["/w", "holds another workspace", "Put the first one back, or start the service or script again"],
    ),
    "WorkspaceGone": (errors.WorkspaceGone(), ["This service's workspace is gone", "log says where"]),
    "WorkspaceNotFound": (
        errors.WorkspaceNotFound("/w", "/config.json"),
        ["No workspace in /w", "/config.json names", "amlstore init /w", "correct the path there"],
    ),
}

CLASSES = [
    member
    for member in vars(errors).values()
    if inspect.isclass(member) and issubclass(member, Exception) and member.__module__ == errors.__name__
]
every_class = pytest.mark.parametrize("kind", CLASSES, ids=lambda kind: kind.__name__)


def test_every_error_is_promised_in_all_and_has_an_example_here() -> None:
    names = sorted(kind.__name__ for kind in CLASSES)
    assert sorted(errors.__all__) == names
    assert sorted(EXAMPLES) == names


@every_class
def test_every_error_has_a_sentence_of_description(kind: type[AmlStoreError]) -> None:
    assert issubclass(kind, AmlStoreError)
    assert "__doc__" in vars(kind)
    assert kind.__doc__


@every_class
def test_every_error_has_a_code_that_mlflow_knows_a_status_and_an_exit_code(kind: type[AmlStoreError]) -> None:
    assert kind.mlflow_code in databricks_pb2.ErrorCode.keys()  # noqa: SIM118  # a protobuf enum, not a dict
    assert 400 <= kind.http_status < 600
    assert kind.exit_code in (1, 2)


@every_class
def test_every_message_names_the_field_the_value_the_rule_and_the_way_out(kind: type[AmlStoreError]) -> None:
    error, parts = EXAMPLES[kind.__name__]
    assert type(error) is kind
    for part in parts:
        assert part in str(error)


@every_class
def test_no_message_has_a_hole_or_a_second_full_stop(kind: type[AmlStoreError]) -> None:
    message = str(EXAMPLES[kind.__name__][0])
    assert not re.search(r"\.\.|\{|\}|None|%s|\. \.|  \.", message)


@every_class
def test_every_error_comes_whole_out_of_a_worker_process(kind: type[AmlStoreError]) -> None:
    error = EXAMPLES[kind.__name__][0]
    copy = pickle.loads(pickle.dumps(error))
    assert type(copy) is kind
    assert (str(copy), vars(copy)) == (str(error), vars(error))


@every_class
def test_every_error_becomes_mlflows_with_its_code_and_status(kind: type[AmlStoreError]) -> None:
    error = EXAMPLES[kind.__name__][0]
    with pytest.raises(MlflowException) as raised, as_mlflow_errors():
        raise error
    assert (raised.value.message, raised.value.error_code) == (str(error), error.mlflow_code)
    assert raised.value.__cause__ is None


def test_a_script_that_mlflow_ends_shows_one_traceback_and_tells_the_other_at_debug(
    amlstore_workspace: Workspace, tmp_path: Path
) -> None:
    script = (
        "import logging, sys, mlflow; logging.basicConfig(level=sys.argv[1]); "
        "mlflow.MlflowClient().log_metric('no', 'a', 1)"
    )
    environment = {**os.environ, "MLFLOW_TRACKING_URI": amlstore_workspace.get_mlflow_tracking_uri()}

    def shown(level: str) -> str:
        return run_forked(["-c", script, level], env=environment, cwd=tmp_path).stderr

    assert shown("WARNING").count("Traceback") == 1
    assert shown("WARNING").endswith("mlflow.exceptions.MlflowException: Run 'no' not found\n")
    assert "mlflow_amlstore.errors.NotFound: Run 'no' not found" in shown("DEBUG")


def test_statuses_are_those_that_mlflow_itself_answers_with() -> None:
    # MLflow has no codes that tell these from others: its 429 means too many requests, its DATA_LOSS is the server's.
    ours_alone = {
        "ContentTypeNotSupported": 415,
        "DiskFull": 507,
        "PayloadTooLarge": 413,
        "RequestTimedOut": 408,
        "TransferBroken": 400,
    }
    for kind in CLASSES:
        status = MlflowException("", databricks_pb2.ErrorCode.Value(kind.mlflow_code)).get_http_status_code()
        assert kind.http_status == ours_alone.get(kind.__name__, status), kind


def test_a_services_refusal_keeps_its_code_and_another_servers_becomes_internal_error() -> None:
    for kind in CLASSES:
        assert errors.ServiceError(kind.mlflow_code, "no", kind.http_status).mlflow_code == kind.mlflow_code
    assert errors.ServiceError("TEAPOT", "no", 418).mlflow_code == "INTERNAL_ERROR"


def test_a_value_too_long_is_cut_in_its_message() -> None:
    message = str(errors.InvalidValue("param", "x" * 10_000, "is too long"))
    assert len(message) < 200
    assert "… (10002 characters)" in message


def test_what_isnt_there_yet_can_be_caught_as_pythons_own_errors() -> None:
    assert issubclass(errors.NotSupported, NotImplementedError)
    assert issubclass(errors.AttributeNotSupported, AttributeError)
    assert issubclass(errors.ImportNotSupported, ImportError)
    assert issubclass(errors.ModuleNotSupported, ModuleNotFoundError)


def test_errors_import_nothing_of_ours() -> None:
    assert "mlflow_amlstore" not in inspect.getsource(errors).split('"""', 2)[2].partition("class ")[0]
