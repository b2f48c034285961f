"""A script of the user's with `init` and `run`, as Azure ML's scoring containers call it.

Script and `init` are run in each worker, after the fork, so that what they start lives; `run` on a thread, in time.
"""

import asyncio
import inspect
import json
import os
import sys
import threading
from collections.abc import Mapping, Sequence
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import parse_qs

from mlflow_amlstore.errors import (
    AmlStoreError,
    BadRequest,
    ContentTypeNotSupported,
    InvalidValue,
    ModelNotLoaded,
    ScriptFailed,
)
from mlflow_amlstore.scoring import script_http, script_models
from mlflow_amlstore.scoring.deployment import Deployment, place
from mlflow_amlstore.scoring.inputs import Anything, Checked, Inputs
from mlflow_amlstore.scoring.script_http import AMLRequest, Written

_MODULE = "entry_module"  # its name in Azure ML's containers, too
_SHIM = Path(__file__).parents[1] / "shim"
_RAW_MODULES = ("azureml.contrib.services.aml_request", "azureml_inference_server_http.api.aml_request")
_HEADERS = "request_headers"
_ANY_OBJECT: dict[str, Any] = {"type": "object", "example": {}}


class ScriptModel:
    """A script. Its only method is `run`."""

    takes_get = True

    def __init__(self, deployment: Deployment, folder: Path) -> None:
        self._deployment, self._folder = deployment, folder
        self._loop: asyncio.AbstractEventLoop | None = None

    def load(self) -> None:
        """See that all is there and that the script is Python; run nothing of it."""
        deployment, folder = self._deployment, self._folder
        self._file = place(folder, "entry_script", deployment.entry_script)
        if deployment.source_directory:
            place(folder, "source_directory", deployment.source_directory)
        if deployment.model:
            place(folder, "model", deployment.model)
        for one in deployment.models:
            place(folder, "models", f"{deployment.model}/{one}")
        try:
            compile(self._file.read_bytes(), str(self._file), "exec")
        except (SyntaxError, ValueError) as error:
            raise ModelNotLoaded("ScriptInvalid", f"{deployment.entry_script} isn't Python: {error}") from error

    def open(self) -> None:
        """Run the script and its `init`."""
        self._prepare()
        script = self._file.name
        spec = spec_from_file_location(_MODULE, self._file)
        assert spec is not None
        assert spec.loader is not None
        module = sys.modules[_MODULE] = module_from_spec(spec)
        try:
            spec.loader.exec_module(module)
        except BaseException as error:  # it may call exit
            raise _not_loaded("ImportFailed", f"{script} raised an exception as it was imported", error) from error
        for name in ("init", "run"):
            if not callable(getattr(module, name, None)):
                raise ModelNotLoaded("ScriptInvalid", f"{script} does not have a {name}() function defined")
        self._run = module.run
        self._look_at_run(script)
        try:
            self._result_of(module.init())
        except BaseException as error:
            raise _not_loaded("InitFailed", f"init() of {script} raised an exception", error) from error

    def _prepare(self) -> None:
        """What Azure ML's containers have: variables, the working folder, what can be imported, lines in the log."""
        deployment, folder = self._deployment, self._folder
        script_models.know(deployment, folder)
        own = PurePosixPath(deployment.entry_script).parent.as_posix()
        source = deployment.source_directory or own
        os.environ["AML_APP_ROOT"] = str(folder)
        os.environ["AZUREML_ENTRY_SCRIPT"] = deployment.entry_script
        os.environ["AZUREML_SOURCE_DIRECTORY"] = source
        models = script_models.model_dir(deployment, folder)
        if models is None:
            os.environ.pop("AZUREML_MODEL_DIR", None)
        else:
            os.environ["AZUREML_MODEL_DIR"] = str(models)
        os.chdir(folder)
        sys.path[:0] = dict.fromkeys([str(self._file.parent), str(folder / source), str(folder)])
        sys.path.append(str(_SHIM))
        sys.argv = [str(self._file)]
        for stream in (sys.stdout, sys.stderr):
            if hasattr(stream, "reconfigure"):
                stream.reconfigure(line_buffering=True)

    def _look_at_run(self, script: str) -> None:
        """Find out how `run` is to be called. Raises ModelNotLoaded."""
        parameters = list(inspect.signature(self._run).parameters.values())
        kinds = (inspect.Parameter.KEYWORD_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
        if any(one.kind not in kinds for one in parameters):
            rule = f"run() of {script} cannot accept positional-only arguments, *args, or **kwargs"
            raise ModelNotLoaded("ScriptInvalid", rule)
        self._takes_headers = any(one.name == _HEADERS for one in parameters)
        self._parameters = [one for one in parameters if one.name != _HEADERS]
        if not self._parameters:
            but = f' other than "{_HEADERS}"' if self._takes_headers else " for input data"
            raise ModelNotLoaded("ScriptInvalid", f"run() of {script} needs to accept an argument{but}")
        self._schemas = _schemas_of(self._run)
        self._is_raw = script_http.raw_is_wanted() or any(
            getattr(sys.modules.get(name), "_rawHttpRequested", False) for name in _RAW_MODULES
        )
        if self._is_raw and self._schemas is not None:
            rule = f"run() of {script} cannot be decorated with both @rawhttp and @input_schema"
            raise ModelNotLoaded("ScriptInvalid", rule)
        others = [one.name for one in self._parameters[1:] if one.default is inspect.Parameter.empty]
        if others and self._schemas is None:
            rule = f"run() of {script} takes {', '.join(others)}, too, which only a run() with @input_schema is given"
            raise ModelNotLoaded("ScriptInvalid", rule)

    @property
    def inputs(self) -> Inputs:
        return Anything()

    @property
    def methods(self) -> tuple[str, ...]:
        return ("run",)

    @property
    def classic_method(self) -> str:
        return "run"

    @property
    def answers_frames(self) -> bool:
        return False

    @property
    def schemas(self) -> Mapping[str, Any]:
        """Swagger's `input` and `output`, and the `versions` of Swagger that have all of them."""
        return self._schemas or {"input": _ANY_OBJECT, "output": _ANY_OBJECT, "versions": ("2", "3")}

    def read(self, method: str, path: str, query: bytes, headers: Mapping[bytes, bytes], body: bytes) -> Checked:
        """The arguments of `run` for a request. Raises BadRequest, ContentTypeNotSupported."""
        named = {name.decode("latin-1"): value.decode("latin-1") for name, value in headers.items()}
        request = AMLRequest(method, path, query, named, body)
        first = self._parameters[0].name
        if self._is_raw:
            arguments: dict[str, Any] = {first: request}
        elif method == "OPTIONS":
            return Checked(None, 0)
        elif self._schemas is not None:
            arguments = self._by_name(_of_query(query) if method == "GET" else _object(request))
        elif method == "GET":
            arguments = {first: json.dumps(_of_query(query))}
        else:
            try:
                arguments = {first: body.decode()}
            except UnicodeDecodeError as error:
                raise BadRequest(f"Input cannot be decoded as UTF-8: {error}") from error
        if self._takes_headers:
            arguments[_HEADERS] = dict(request.headers)
        return Checked(arguments, 1)

    def _by_name(self, given: Mapping[str, Any]) -> dict[str, Any]:
        arguments = {}
        for one in self._parameters:
            value = given.get(one.name, one.default)
            if value is inspect.Parameter.empty:
                raise BadRequest(f"A value is not provided for the {one.name!r} parameter.")
            arguments[one.name] = value
        return arguments

    def predict(self, checked: Checked, method: str, params: Mapping[str, Any] | None) -> Any:
        """Call `run`. Raises ScriptFailed, and InvalidValue for what a schema doesn't take."""
        if checked.values is None:
            return script_http.AMLResponse("", 200)
        try:
            return self._result_of(self._run(**checked.values))
        except AmlStoreError:
            raise
        except BaseException as error:  # it may call exit
            if (refused := _refused_by_schema(error)) is not None:
                raise refused from error
            raise ScriptFailed(error) from error

    def answer(self, result: Any) -> Written:
        """What `run` gave, as an answer. Raises ValueError or TypeError."""
        return script_http.written(result)

    def _result_of(self, result: Any) -> Any:
        """A result; that of an async function, when it is there. All of a script's run on one loop of their own."""
        if not inspect.isawaitable(result):
            return result
        if self._loop is None:
            self._loop = asyncio.new_event_loop()
            threading.Thread(target=self._loop.run_forever, name="script", daemon=True).start()

        async def wait() -> Any:
            return await result

        return asyncio.run_coroutine_threadsafe(wait(), self._loop).result()


def _not_loaded(code: str, what: str, error: BaseException) -> ModelNotLoaded:
    if isinstance(error, ModuleNotFoundError):
        return ModelNotLoaded("PackageMissing", f"{what}: it needs the package {error.name}, which isn't installed")
    if isinstance(error, MemoryError):
        code = "OutOfMemory"
    return ModelNotLoaded(code, f"{what}: {type(error).__name__}: {error}")


def _schemas_of(run: Any) -> dict[str, Any] | None:
    """What inference_schema's decorators say of `run`; None where it has none."""
    if "inference_schema" not in sys.modules:
        return None
    from inference_schema import schema_util

    if not schema_util.is_schema_decorated(run):
        return None
    versions: Sequence[str] = schema_util.get_supported_versions(run)
    return {
        "input": schema_util.get_input_schema(run),
        "output": schema_util.get_output_schema(run),
        "versions": tuple(known for known in ("2", "3") if any(one.startswith(known) for one in versions)),
    }


def _of_query(query: bytes) -> dict[str, Any]:
    """A query's values by name, each as the JSON that it is, else as text; a list where a name stands twice."""
    found = parse_qs(query.decode("latin-1"), keep_blank_values=True)
    read = {name: [_json_or_text(value) for value in values] for name, values in found.items()}
    return {name: values if len(values) > 1 else values[0] for name, values in read.items()}


def _json_or_text(value: str) -> Any:
    try:
        return json.loads(value)
    except ValueError:
        return value


def _object(request: AMLRequest) -> Mapping[str, Any]:
    if request.content_type is not None and not request.is_json:
        raise ContentTypeNotSupported("Content-Type", request.mimetype, "Expects Content-Type to be application/json")
    if not request.data:
        raise BadRequest("POST body is empty. Expecting a JSON dictionary.")
    try:
        document = json.loads(request.data)
    except (ValueError, RecursionError) as error:
        raise BadRequest(f"POST body could not be decoded as JSON: {error}") from error
    if not isinstance(document, dict):
        raise BadRequest("POST body should be a JSON dictionary.")
    return document


def _refused_by_schema(error: BaseException) -> InvalidValue | None:
    """What to answer where a value isn't of the type that `run` is decorated with: that's no fault of the script's."""
    at = error.__traceback__
    while at is not None:
        code, values = at.tb_frame.f_code, at.tb_frame.f_locals
        if code.co_name == "_deserialize_input_argument" and "inference_schema" in code.co_filename:
            return InvalidValue(str(values.get("param_name")), values.get("input_data"), str(error))
        at = at.tb_next
    return None
