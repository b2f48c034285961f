"""Every error this package raises on purpose. Imports nothing of ours.

Each class keeps the values it is about as attributes and builds its own sentence: the field, the value, the rule, the
way out. `mlflow_code` is MLflow's error code (`mlflow.protos.databricks_pb2.ErrorCode`), `http_status` what a service
answers, `exit_code` what the command line exits with.
"""

from collections.abc import Sequence

__all__ = [
    "AlreadyExists",
    "AmlStoreError",
    "Changed",
    "ConfigInvalid",
    "ConfigNotFound",
    "Deleted",
    "DiskFull",
    "FilterInvalid",
    "InvalidState",
    "InvalidValue",
    "NotFound",
    "NotSupported",
    "PageTokenInvalid",
    "PathUnsafe",
    "ReadOnly",
    "SchemaTooNew",
    "StorageFailed",
    "TrackingUriInvalid",
    "WorkspaceBusy",
    "WorkspaceCorrupt",
    "WorkspaceNotFound",
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


class Changed(AmlStoreError):
    """A param or property, written once, was given another value. The first value stays."""

    mlflow_code = "INVALID_PARAMETER_VALUE"
    http_status = 400

    def __init__(self, kind: str, run_id: str, name: str, old: str, new: str) -> None:
        self.kind, self.run_id, self.name, self.old, self.new = kind, run_id, name, old, new
        super().__init__(
            f"Changing {kind} values is not allowed. {kind.capitalize()} with key={name!r} was already logged with "
            f"value={_shown(old)} for run ID={run_id!r}. Attempted logging new value {_shown(new)}"
        )


class NotSupported(AmlStoreError):
    """Something MLflow has that this workspace doesn't have yet."""

    mlflow_code = "NOT_IMPLEMENTED"
    http_status = 501

    def __init__(self, what: str, instead: str = "") -> None:
        self.what = what
        super().__init__(f"{what} is not supported by mlflow-amlstore yet{'. ' + instead if instead else ''}")


class TrackingUriInvalid(InvalidValue):
    """A tracking or artifact URI that names no workspace."""

    def __init__(self, uri: str, rule: str) -> None:
        super().__init__("tracking URI", uri, rule)


class ConfigNotFound(AmlStoreError):
    """No config.json in any of the folders searched."""

    mlflow_code = "RESOURCE_DOES_NOT_EXIST"
    http_status = 404
    exit_code = 2

    def __init__(self, searched: Sequence[str]) -> None:
        self.searched = tuple(searched)
        folders = "\n  ".join(self.searched)
        super().__init__(
            f"No config.json found. Searched:\n  {folders}\n"
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


class WorkspaceNotFound(AmlStoreError):
    """The folder holds no embedded workspace."""

    mlflow_code = "RESOURCE_DOES_NOT_EXIST"
    http_status = 404
    exit_code = 2

    def __init__(self, folder: str) -> None:
        self.folder = folder
        super().__init__(f"No workspace in {folder}. Make one with `amlstore init {folder}`, or correct the path")


class SchemaTooNew(AmlStoreError):
    """The workspace was written by a newer release."""

    mlflow_code = "INVALID_STATE"
    http_status = 500

    def __init__(self, folder: str, found: str, known: str) -> None:
        self.folder, self.found, self.known = folder, found, known
        super().__init__(
            f"The workspace {folder} has schema {found}, which is newer than the {known} that this release knows. "
            "Nothing was changed. Upgrade with `pip install -U mlflow-amlstore`"
        )


class WorkspaceCorrupt(AmlStoreError):
    """The workspace's database can't be read as one."""

    mlflow_code = "INVALID_STATE"
    http_status = 500

    def __init__(self, folder: str, problem: str) -> None:
        self.folder, self.problem = folder, problem
        super().__init__(
            f"The records of workspace {folder} can't be read: {problem}. Nothing was changed. "
            "Restore records.db from a copy, or salvage it with `sqlite3 records.db .recover`"
        )


class ReadOnly(AmlStoreError):
    """The workspace's folder or disk can't be written."""

    mlflow_code = "PERMISSION_DENIED"
    http_status = 403

    def __init__(self, folder: str) -> None:
        self.folder = folder
        super().__init__(
            f"The workspace {folder} is read-only for this user: what it holds can be read, nothing can be logged. "
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

    def __init__(self, folder: str, problem: str) -> None:
        self.folder, self.problem = folder, problem
        super().__init__(f"The workspace {folder} could not be read or written: {problem}. Check the disk it is on")
