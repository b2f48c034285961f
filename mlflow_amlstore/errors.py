"""Every error this package raises on purpose. Imports nothing of ours.

Each class keeps the values it is about as attributes and builds its own sentence: the field, the value, the rule, the
way out. `mlflow_code` is MLflow's error code (`mlflow.protos.databricks_pb2.ErrorCode`), `http_status` what a service
answers, `exit_code` what the command line exits with.
"""

import errno
import json
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

__all__ = [
    "ActivityFailed",
    "AlreadyExists",
    "AmlStoreError",
    "AttributeNotSupported",
    "BadRequest",
    "BodyInvalid",
    "Changed",
    "ConfigInvalid",
    "ConfigNotFound",
    "ConfigOfOthers",
    "ContentTypeNotSupported",
    "Deleted",
    "DiskFull",
    "EnvironmentFailed",
    "ExtraMissing",
    "FilterInvalid",
    "ImportNotSupported",
    "InvalidState",
    "InvalidValue",
    "LocalFileFailed",
    "LoginNeeded",
    "ModelFailed",
    "ModelNotLoaded",
    "ModuleNotSupported",
    "NotAllowed",
    "NotFound",
    "NotSupported",
    "PageTokenInvalid",
    "PartlyRefused",
    "PathUnsafe",
    "PayloadTooLarge",
    "PredictionTimedOut",
    "RayFailed",
    "ReadOnly",
    "RequestTimedOut",
    "RouteNotFound",
    "SchemaTooNew",
    "ScriptNotFound",
    "ServiceBusy",
    "ServiceError",
    "ServiceUnreachable",
    "SourceFolderNotFound",
    "StorageFailed",
    "TokenRefused",
    "TooManyRequests",
    "TrackingUriInvalid",
    "TransferBroken",
    "UnknownAttribute",
    "WorkspaceBusy",
    "WorkspaceCorrupt",
    "WorkspaceGone",
    "WorkspaceNotFound",
    "WorkspaceReplaced",
]


def _shown(value: object, limit: int = 100) -> str:
    """`value` as it stands in a message: quoted, and cut so that a large one can't flood a log."""
    text = repr(value)
    return text if len(text) <= limit else f"{text[:limit]}… ({len(text)} characters)"


class AmlStoreError(Exception):
    """Base of every error in this module."""

    mlflow_code = "INTERNAL_ERROR"
    http_status = 500
    exit_code = 1

    def __reduce__(self) -> tuple[object, ...]:
        """Pickle by value: a worker process must be able to hand its error on, whatever its constructor takes."""
        return _rebuilt, (type(self), self.args, self.__dict__)


def _rebuilt(kind: type[AmlStoreError], args: tuple[object, ...], attributes: dict[str, object]) -> AmlStoreError:
    error = kind.__new__(kind, *args)
    error.args = args
    error.__dict__.update(attributes)
    return error


class InvalidValue(AmlStoreError):
    """A caller's value breaks a rule. Nothing was written."""

    mlflow_code = "INVALID_PARAMETER_VALUE"
    http_status = 400
    exit_code = 2

    def __init__(self, field: str, value: object, rule: str) -> None:
        self.field, self.value, self.rule = field, value, rule
        super().__init__(f"Invalid value {_shown(value)} for {field}: {rule}")


class FilterInvalid(InvalidValue):
    """A filter string or order_by clause can't be read; `position` is the offset of `token` in `text`."""

    def __init__(self, text: str, position: int, token: str, problem: str) -> None:
        self.text, self.position, self.token, self.problem = text, position, token, problem
        self.field, self.value, self.rule = "filter", text, problem
        pointer = " " * position + "^" * max(1, len(token))
        where = f"at {_shown(token)}" if token else "at the end"
        AmlStoreError.__init__(
            self, f"Invalid search expression {where}, position {position}: {problem}\n  {text}\n  {pointer}"
        )


class PageTokenInvalid(InvalidValue):
    """A page token that this store didn't issue, or issued for another query."""

    def __init__(self, token: object, problem: str) -> None:
        super().__init__("page_token", token, f"{problem}; start again without a page token")


class PathUnsafe(InvalidValue):
    """A file path, model source or artifact location that could reach outside its place."""

    def __init__(self, field: str, value: object, rule: str) -> None:
        super().__init__(field, value, rule)


class NotFound(AmlStoreError):
    """The thing named doesn't exist in this workspace; `kind` is one of the spec's words."""

    mlflow_code = "RESOURCE_DOES_NOT_EXIST"
    http_status = 404

    def __init__(self, kind: str, key: object, hint: str = "") -> None:
        self.kind, self.key = kind, key
        super().__init__(f"{kind[:1].upper()}{kind[1:]} {_shown(key)} not found{'. ' + hint if hint else ''}")


class AlreadyExists(AmlStoreError):
    """A name that must be unique is taken."""

    mlflow_code = "RESOURCE_ALREADY_EXISTS"
    http_status = 400  # MLflow's own status for this code (`mlflow.exceptions.ERROR_CODE_TO_HTTP_STATUS`)

    def __init__(self, kind: str, name: object, hint: str = "") -> None:
        self.kind, self.name = kind, name
        super().__init__(f"{kind[:1].upper()}{kind[1:]} {_shown(name)} already exists{'. ' + hint if hint else ''}")


class Deleted(AmlStoreError):
    """The experiment or run is deleted, so it takes no writes until it is restored."""

    mlflow_code = "INVALID_PARAMETER_VALUE"
    http_status = 400

    def __init__(self, kind: str, key: object) -> None:
        self.kind, self.key = kind, key
        super().__init__(
            f"The {kind} {key} must be in the 'active' state to be changed. Current state is deleted; restore it first"
        )


class InvalidState(AmlStoreError):
    """The operation doesn't fit the state that the thing is in."""

    mlflow_code = "INVALID_STATE"
    http_status = 500  # as MLflow maps it

    def __init__(self, problem: str) -> None:
        super().__init__(problem)


class UnknownAttribute(InvalidValue, AttributeError):
    """An attribute that a configuration doesn't have was set: a slip, which would change nothing."""

    def __init__(self, owner: str, name: str, known: Collection[str]) -> None:
        self.owner = owner
        self.field, self.value, self.rule = f"attribute of {owner}", name, f"it has {', '.join(sorted(known))}"
        AmlStoreError.__init__(self, f"{owner} has no attribute {_shown(name)}; {self.rule}")


class ScriptNotFound(InvalidValue):
    """The script to submit isn't a file of its source folder. Nothing was started."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.field, self.value, self.rule = "script", path, "should be inside the project folder"
        AmlStoreError.__init__(
            self, f"{path} script path doesn't exist. The script should be inside the project folder"
        )


class SourceFolderNotFound(InvalidValue, FileNotFoundError):
    """The folder to submit isn't there, or is no folder. Nothing was started."""

    def __init__(self, folder: str) -> None:
        super().__init__("source_directory", folder, "must be a folder that is there")


class ActivityFailed(InvalidState):
    """A run that somebody waited for has failed; `error` is what is known of it, in Azure ML's form."""

    def __init__(self, run_id: str, error: Mapping[str, object] | None = None) -> None:
        self.run_id, self.error = run_id, error
        known = "Detailed error not set on the Run. Please check the logs for details."
        super().__init__(f"Activity Failed:\n{known if error is None else json.dumps(error, indent=4)}")


class ExtraMissing(AmlStoreError):
    """A package that one of this package's extras brings isn't installed."""

    mlflow_code = "INVALID_STATE"
    http_status = 500  # as MLflow maps it

    def __init__(self, what: str, package: str, extra: str) -> None:
        self.what, self.package, self.extra = what, package, extra
        super().__init__(
            f"{what} needs the package {package}, which is not installed. "
            f"Run `pip install 'mlflow-amlstore[{extra}]'`, or in a clone `pip install '.[{extra}]'`"
        )


class EnvironmentFailed(AmlStoreError):
    """What a submitted script was to run in can't be had; `lines` are the last ones of its build, if one was tried."""

    mlflow_code = "INVALID_STATE"
    http_status = 500  # as MLflow maps it

    def __init__(self, name: str, problem: str, lines: Sequence[str] = ()) -> None:
        self.name, self.problem, self.lines = name, problem, tuple(lines)
        super().__init__("\n  ".join([f"The environment {_shown(name)} can't be used: {problem}", *self.lines]))


class Changed(AmlStoreError):
    """A param or property, written once, was given another value. The first value stays."""

    mlflow_code = "INVALID_PARAMETER_VALUE"
    http_status = 400

    def __init__(self, kind: str, run_id: str, name: str, old: str, new: str, *, owner: str = "run ID") -> None:
        self.kind, self.run_id, self.name, self.old, self.new = kind, run_id, name, old, new
        super().__init__(
            f"Changing {kind} values is not allowed. {kind.capitalize()} with key={name!r} was already logged with "
            f"value={_shown(old)} for {owner}={run_id!r}. Attempted logging new value {_shown(new)}"
        )


class NotSupported(AmlStoreError, NotImplementedError):
    """Something that MLflow or Azure ML's SDK has, and this package or this workspace doesn't have yet."""

    mlflow_code = "NOT_IMPLEMENTED"
    http_status = 501

    def __init__(self, what: str, instead: str = "") -> None:
        self.what = what
        super().__init__(f"{what} is not supported by mlflow-amlstore yet{'. ' + instead if instead else ''}")


class AttributeNotSupported(NotSupported, AttributeError):
    """An attribute that a class of Azure ML's SDK has, and ours doesn't have yet. To `hasattr` it isn't there."""


class ImportNotSupported(NotSupported, ImportError):
    """A name that a module of Azure ML's SDK has, and ours doesn't have yet."""


class ModuleNotSupported(ImportNotSupported, ModuleNotFoundError):
    """A module that Azure ML's SDK has, and this package doesn't have yet."""


class TrackingUriInvalid(InvalidValue):
    """A tracking or artifact URI that names no workspace."""

    def __init__(self, uri: str, rule: str) -> None:
        super().__init__("tracking URI", uri, rule)


class ConfigNotFound(AmlStoreError):
    """No config.json in any of the folders searched."""

    mlflow_code = "RESOURCE_DOES_NOT_EXIST"
    http_status = 404
    exit_code = 2

    def __init__(self, searched: Sequence[str], file_name: str = "config.json") -> None:
        self.searched = tuple(searched)
        folders = "\n  ".join(self.searched)
        super().__init__(
            f"No {file_name} found. Searched:\n  {folders}\n"
            "For a local workspace run `amlstore init`; for an Azure ML workspace download config.json from the "
            "portal (workspace overview, 'Download config.json') into one of these folders"
        )


class ConfigInvalid(AmlStoreError):
    """A config.json that isn't one of ours or the portal's."""

    mlflow_code = "INVALID_PARAMETER_VALUE"
    http_status = 400
    exit_code = 2

    def __init__(self, path: str, problem: str) -> None:
        self.path, self.problem = path, problem
        super().__init__(f"{path} can't be used: {problem}")


class ConfigOfOthers(ConfigInvalid):
    """A config.json that has nothing of ours or the portal's: some other program's."""


class WorkspaceNotFound(AmlStoreError):
    """The folder holds no embedded workspace; `config_file` is the config.json that names it, if one does."""

    mlflow_code = "RESOURCE_DOES_NOT_EXIST"
    http_status = 404
    exit_code = 2

    def __init__(self, folder: str, config_file: str = "") -> None:
        self.folder, self.config_file = folder, config_file
        named, there = (f", which {config_file} names", " there") if config_file else ("", "")
        super().__init__(
            f"No workspace in {folder}{named}. Make one with `amlstore init {folder}`, or correct the path{there}"
        )


class WorkspaceReplaced(WorkspaceNotFound):
    """A folder holds another workspace than when a process opened it."""

    def __init__(self, folder: str) -> None:
        self.folder, self.config_file = folder, ""
        message = (
            f"The folder {folder} holds another workspace than when it was opened. Nothing is read or written in it. "
            "Put the first one back, or start the service or script again for the one that is there now"
        )
        AmlStoreError.__init__(self, message)


class WorkspaceGone(AmlStoreError):
    """A service's workspace isn't where it was; whoever isn't on its machine needn't know where."""

    mlflow_code = "TEMPORARILY_UNAVAILABLE"
    http_status = 503

    def __init__(self) -> None:
        super().__init__("This service's workspace is gone; the service's log says where it was")


class SchemaTooNew(AmlStoreError):
    """The workspace was written by a newer release."""

    mlflow_code = "INVALID_STATE"
    http_status = 500

    def __init__(self, folder: str, found: str, known: str) -> None:
        self.folder, self.found, self.known = folder, found, known
        super().__init__(
            f"The workspace {folder} has schema {found}, which is newer than the {known} that this release knows. "
            "Nothing was changed. Install a newer mlflow-amlstore"
        )


class WorkspaceCorrupt(AmlStoreError):
    """The workspace's database can't be read as one."""

    mlflow_code = "INVALID_STATE"
    http_status = 500

    RESTORE = "restore records.db from a copy, after removing records.db-wal and records.db-shm beside it"
    WAY_OUT = f"{RESTORE.capitalize()}; or salvage it with `sqlite3 records.db .recover`"

    def __init__(self, folder: str, problem: str, way_out: str = WAY_OUT) -> None:
        self.folder, self.problem = folder, problem
        super().__init__(f"The records of workspace {folder} can't be read: {problem}. Nothing was changed. {way_out}")


class ReadOnly(AmlStoreError):
    """The workspace's folder or disk can't be written."""

    mlflow_code = "PERMISSION_DENIED"
    http_status = 403

    CAN_BE_READ = "what it holds can be read, nothing can be logged"

    def __init__(self, folder: str, what: str = CAN_BE_READ) -> None:
        self.folder = folder
        super().__init__(
            f"The workspace {folder} is read-only for this user: {what}. "
            "Give this user write permission on the folder and on records.db in it, or copy the workspace elsewhere"
        )


class DiskFull(AmlStoreError):
    """No room left where the workspace lives. What was acknowledged before is intact."""

    mlflow_code = "RESOURCE_EXHAUSTED"
    http_status = 507

    def __init__(self, folder: str) -> None:
        self.folder = folder
        super().__init__(
            f"No space left on the disk of workspace {folder}: this call was not recorded, everything logged earlier "
            "is intact. Free some space and call again"
        )


class WorkspaceBusy(AmlStoreError):
    """Another process held the workspace's write lock for the whole waiting time."""

    mlflow_code = "TEMPORARILY_UNAVAILABLE"
    http_status = 503

    def __init__(self, folder: str, waited_s: float) -> None:
        self.folder, self.waited_s = folder, waited_s
        super().__init__(
            f"Another process has held the write lock of workspace {folder} for {waited_s:.0f} s; this call was not "
            "recorded. `amlstore doctor` tells whether the folder is on a network share, where locks are unreliable"
        )


class StorageFailed(AmlStoreError):
    """The operating system refused to read or write the workspace's files."""

    mlflow_code = "INTERNAL_ERROR"

    def __init__(self, folder: str, problem: str, way_out: str = "Check the disk it is on") -> None:
        self.folder, self.problem, self.way_out = folder, problem, way_out
        super().__init__(f"The workspace {folder} could not be read or written: {problem}. {way_out}")


class LocalFileFailed(AmlStoreError):
    """The operating system refused to read or write a file or folder of this machine, outside of a workspace."""

    mlflow_code = "INTERNAL_ERROR"

    WAY_OUT = "Check the path, who may write there, and the disk it is on"

    def __init__(self, path: str, problem: str, way_out: str = WAY_OUT) -> None:
        self.path, self.problem, self.way_out = path, problem, way_out
        super().__init__(f"{path} on this machine could not be read or written: {problem}. {way_out}")


def storage_error(folder: Path, error: OSError) -> AmlStoreError:
    """What the operating system refused in a workspace's folder, as our error."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        return DiskFull(str(folder))
    if error.errno in (errno.EROFS, errno.EACCES, errno.EPERM):
        return ReadOnly(str(folder))
    if error.errno == errno.ENOENT and not folder.exists():
        return WorkspaceNotFound(str(folder))
    return StorageFailed(str(folder), str(error))


class BadRequest(AmlStoreError):
    """A request that can't be read: not JSON, the wrong content type, a header or parameter that makes no sense."""

    mlflow_code = "BAD_REQUEST"
    http_status = 400

    def __init__(self, problem: str) -> None:
        super().__init__(problem)


class BodyInvalid(BadRequest):
    """A request's body or query lacks a field, or has one of the wrong type."""

    mlflow_code = "INVALID_PARAMETER_VALUE"

    def __init__(self, problem: str) -> None:
        super().__init__(f"Invalid request: {problem}")


class ServiceBusy(AmlStoreError):
    """The service has no room for a request now."""

    mlflow_code = "TEMPORARILY_UNAVAILABLE"
    http_status = 503

    def __init__(self, problem: str, retry_after_s: int = 1) -> None:
        self.retry_after_s = retry_after_s
        after = f" after {retry_after_s} s" if retry_after_s > 1 else ""
        super().__init__(f"The service can't take this request now: {problem}; send it again{after}")


class RequestTimedOut(BadRequest):
    """A request's body didn't arrive in time."""

    http_status = 408

    def __init__(self, waited_s: float) -> None:
        self.waited_s = waited_s
        super().__init__(f"The request's body came too slowly, or no more of it for {waited_s:.0f} s; send it again")


class PayloadTooLarge(AmlStoreError):
    """A request body over its route's limit."""

    mlflow_code = "BAD_REQUEST"
    http_status = 413

    def __init__(self, limit_bytes: int) -> None:
        self.limit_bytes = limit_bytes
        super().__init__(
            f"The request's body is over {limit_bytes} bytes, the most this route takes; send less at once"
        )


class ContentTypeNotSupported(AmlStoreError):
    """A request whose body is of a kind that an endpoint doesn't read."""

    mlflow_code = "BAD_REQUEST"
    http_status = 415

    def __init__(self, header: str, value: str, rule: str) -> None:
        self.header, self.value, self.rule = header, value, rule
        super().__init__(f"{header} {_shown(value)} isn't one that an endpoint takes: {rule}")


class TooManyRequests(AmlStoreError):
    """As many requests wait for a model as may."""

    mlflow_code = "REQUEST_LIMIT_EXCEEDED"
    http_status = 429

    def __init__(self, waiting: int, retry_after_s: int = 1) -> None:
        self.waiting, self.retry_after_s = waiting, retry_after_s
        super().__init__(
            f"{waiting} requests wait for the model, the most that may; send it again after {retry_after_s} s"
        )


class ModelFailed(AmlStoreError):
    """A model raised an exception while it predicted. Its traceback is in the endpoint's log."""

    http_status = 500

    def __init__(self, error: BaseException) -> None:
        self.error_class, self.problem = type(error).__name__, str(error)[:500]
        super().__init__(
            f"The model failed: {self.error_class}: {self.problem or 'it gives no reason'}. "
            "The endpoint's log has the traceback"
        )


class PredictionTimedOut(AmlStoreError):
    """A model took longer for a prediction than its deployment allows."""

    mlflow_code = "DEADLINE_EXCEEDED"
    http_status = 504

    def __init__(self, limit_s: float) -> None:
        self.limit_s = limit_s
        took = f"Scoring timeout after {limit_s * 1000:.0f} ms"
        super().__init__(f"{took}: the model took longer than it may; send less at once")


class ModelNotLoaded(AmlStoreError):
    """A deployment's model can't be loaded; `code` is a word for the reason."""

    mlflow_code = "INVALID_STATE"
    http_status = 500  # as MLflow maps it

    def __init__(self, code: str, problem: str) -> None:
        self.code, self.problem = code, problem
        super().__init__(f"The model can't be loaded: {problem}")


class RouteNotFound(AmlStoreError):
    """The service has nothing under this method and path."""

    mlflow_code = "ENDPOINT_NOT_FOUND"
    http_status = 404

    def __init__(self, method: str, path: str) -> None:
        self.method, self.path = method, path
        super().__init__(
            f"This service has no route {method} {_shown(path)}; /openapi.json, which wants a token, lists its routes"
        )


class TokenRefused(AmlStoreError):
    """No credential came with a request, or one that isn't good (any more); the message never repeats it."""

    mlflow_code = "UNAUTHENTICATED"
    http_status = 401
    WAY_OUT = (
        "Get a fresh tracking URI from get_mlflow_tracking_uri() or `amlstore uri`, or log in with `amlstore login URL`"
    )

    def __init__(self, problem: str, way_out: str = WAY_OUT) -> None:
        self.problem = problem
        super().__init__(f"{problem}. {way_out}")


class NotAllowed(AmlStoreError):
    """The credential is good, but not for this."""

    mlflow_code = "PERMISSION_DENIED"
    http_status = 403

    def __init__(self, problem: str) -> None:
        super().__init__(problem)


class LoginNeeded(AmlStoreError):
    """No credential for a service can be found on this machine."""

    mlflow_code = "UNAUTHENTICATED"
    http_status = 401
    exit_code = 2

    def __init__(self, service_url: str, searched: str, way_out: str = "") -> None:
        self.service_url, self.searched = service_url, searched
        way_out = way_out or (
            f"Log in with `amlstore login {service_url}`, "
            "or set AMLSTORE_KEY to a key that the service's owner made with `amlstore keys create`"
        )
        super().__init__(f"No credential for {service_url} ({searched}). {way_out}")


class ServiceUnreachable(AmlStoreError):
    """A service didn't answer, or not in a way that makes sense, however often it was asked."""

    mlflow_code = "TEMPORARILY_UNAVAILABLE"
    http_status = 503

    def __init__(self, service_url: str, problem: str) -> None:
        self.service_url = service_url
        super().__init__(
            f"The workspace service {service_url} can't be reached: {problem}. Check the address and that it runs"
        )


class RayFailed(AmlStoreError):
    """A Ray cluster didn't answer, or not in a way that makes sense."""

    mlflow_code = "TEMPORARILY_UNAVAILABLE"
    http_status = 503

    def __init__(self, url: str, problem: str, *, may_pass: bool = False) -> None:
        """`may_pass` says that the same may work a little later."""
        self.url, self.may_pass = url, may_pass
        super().__init__(f"Ray at {url} can't be used: {problem}. Check the compute target, and that Ray's head runs")


class TransferBroken(AmlStoreError):
    """What arrived of a file is not what was sent."""

    mlflow_code = "DATA_LOSS"
    http_status = 400

    def __init__(self, name: str, problem: str) -> None:
        self.name = name
        super().__init__(f"The transfer of {_shown(name)} went wrong: {problem}. Nothing was kept of it; send it again")


# The codes that a service of this package answers with, all of which every MLflow from 2.16 knows.
_CODES_OF_A_SERVICE = frozenset(
    "ABORTED BAD_REQUEST DATA_LOSS DEADLINE_EXCEEDED ENDPOINT_NOT_FOUND INTERNAL_ERROR INVALID_PARAMETER_VALUE "
    "INVALID_STATE NOT_IMPLEMENTED PERMISSION_DENIED REQUEST_LIMIT_EXCEEDED RESOURCE_ALREADY_EXISTS RESOURCE_CONFLICT "
    "RESOURCE_DOES_NOT_EXIST RESOURCE_EXHAUSTED TEMPORARILY_UNAVAILABLE UNAUTHENTICATED".split()
)


class ServiceError(AmlStoreError):
    """A workspace service refused a request, with the code and the sentence that it gave; `http_status` is its own.

    A code that isn't one of ours (some proxy's) becomes INTERNAL_ERROR.
    """

    def __init__(self, error_code: str, message: str, http_status: int = 500) -> None:
        self.error_code, self.message = error_code, message
        self.mlflow_code = error_code if error_code in _CODES_OF_A_SERVICE else "INTERNAL_ERROR"
        self.http_status = http_status
        super().__init__(message)


class PartlyRefused(ServiceError):
    """A workspace service took a write of `written` calls but for the values of some `names`."""

    def __init__(self, written: int, names: Collection[str], reason: str) -> None:
        self.written, self.names, self.reason = written, frozenset(names), reason
        listed = ", ".join(map(repr, sorted(names)))
        super().__init__("INVALID_PARAMETER_VALUE", f"The workspace refused the values of {listed}: {reason}", 400)

    def __reduce__(self) -> "tuple[type[PartlyRefused], tuple[object, ...]]":
        return type(self), (self.written, self.names, self.reason)
