"""TensorFlow's SavedModels, called directly. A model's methods are its signatures.

TensorFlow is imported, and the model loaded, in each worker after the fork, which its threads don't survive. Before,
the file is looked at for operators that reach outside of the model.
"""

import base64
import binascii
import os
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from mlflow_amlstore.errors import InvalidValue, ModelNotLoaded
from mlflow_amlstore.scoring.deployment import Deployment
from mlflow_amlstore.scoring.inputs import (
    Checked,
    Column,
    Inputs,
    Tensor,
    column_names,
    has_missing,
    of_tensors,
)
from mlflow_amlstore.scoring.payloads import Named, Outputs, Records, Request, Table
from mlflow_amlstore.scoring.trusted import ALLOW

FILE = "saved_model.pb"
_DEFAULT = "serving_default"
# Operators that read or write files, or call Python. What every model loads its weights with isn't among them.
_REACHING = (
    "WriteFile ReadFile MatchingFiles PyFunc PyFuncStateless EagerPyFunc PrintV2 DecodeProtoV2 EncodeProto "
    "WholeFileReaderV2 TextLineReaderV2 FixedLengthRecordReaderV2 TFRecordReaderV2 TextLineDataset TFRecordDataset "
    "TFRecordDatasetV2 FixedLengthRecordDatasetV2 SaveDatasetV2 LoadDataset DatasetToTFRecord DebugIdentityV2 "
    "CreateSummaryFileWriter"
).split()


def find(path: Path, name: str) -> Path:
    """The folder with the model: the path itself, or the one that MLflow's MLmodel names. Raises ModelNotLoaded."""
    if (path / FILE).is_file():
        return path
    about = path / "MLmodel"
    if about.exists():
        import yaml

        said = (yaml.safe_load(about.read_text(encoding="utf-8")) or {}).get("flavors", {}).get("tensorflow", {})
        for part in (said.get("saved_model_dir"), f"{said.get('data', 'data')}/model"):
            if part and (path / part / FILE).is_file() and (path / part).resolve().is_relative_to(path.resolve()):
                return path / part
        if said:
            rule = f"{name} has a Keras model and no SavedModel; deploy it as an MLflow model, or export it with Keras"
            raise ModelNotLoaded("FileMissing", rule)
    raise ModelNotLoaded("FileMissing", f"{name} has no SavedModel: a folder with {FILE}, or MLflow's folder")


class SavedModel:
    """A SavedModel."""

    def __init__(self, deployment: Deployment, folder: Path) -> None:
        self._deployment, self._folder = deployment, folder

    def load(self) -> None:
        """Look at the file, and see that there is a TensorFlow."""
        if not self._deployment.allow_pickle:
            graph = (self._folder / FILE).read_bytes()
            # NodeDef.op is the field 2 of a message: its tag, its length, its text.
            found = [name for name in _REACHING if b"\x12" + bytes([len(name)]) + name.encode() in graph]
            if found:
                rule = f"{FILE} has operators that reach outside of the model: {', '.join(found)}; {ALLOW}"
                raise ModelNotLoaded("TypesNotTrusted", rule)
        if find_spec("tensorflow") is None:
            raise ModelNotLoaded("PackageMissing", "it needs the package tensorflow, which isn't installed")

    def open(self) -> None:
        """Import TensorFlow, load the model, and find out what its signatures take and give."""
        os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # errors
        import tensorflow

        threads = int(os.environ.get("OMP_NUM_THREADS", "1"))  # a worker's part of the cores
        tensorflow.config.threading.set_intra_op_parallelism_threads(threads)
        tensorflow.config.threading.set_inter_op_parallelism_threads(1)
        self._tensorflow = tensorflow
        try:
            self._loaded = tensorflow.saved_model.load(str(self._folder))
        except (OSError, ValueError, tensorflow.errors.OpError) as error:
            raise ModelNotLoaded("LoadFailed", f"TensorFlow can't load {self._folder.name}: {error}") from error
        calls = {name: call for name, call in self._loaded.signatures.items() if not name.startswith("__")}
        if not calls:
            rule = "it has no signatures: give tf.saved_model.save some, or export a Keras model"
            raise ModelNotLoaded("NotAModel", rule)
        self._calls = {name: calls[name] for name in sorted(calls, key=lambda name: (name != _DEFAULT, name))}
        takes = {name: _tensors(call.structured_input_signature[1]) for name, call in self._calls.items()}
        self._names = {name: [tensor.name for tensor in tensors] for name, tensors in takes.items()}
        names = column_names(self._deployment.signature or {})
        self._inputs = _Signatures({name: of_tensors(tensors, {}, names) for name, tensors in takes.items()})
        self._outputs = _tensors(self._calls[self.methods[0]].structured_outputs)

    @property
    def inputs(self) -> Inputs:
        return self._inputs

    @property
    def outputs(self) -> Sequence[Tensor]:
        """What the first signature gives."""
        return self._outputs

    @property
    def methods(self) -> tuple[str, ...]:
        return tuple(self._calls)

    @property
    def classic_method(self) -> str:
        return self.methods[0]

    @property
    def answers_frames(self) -> bool:
        return False

    def predict(self, checked: Checked, method: str, params: Mapping[str, Any] | None) -> Any:
        values = checked.values
        if not isinstance(values, dict):
            values = {self._names[method][0]: values}
        constant = self._tensorflow.constant
        try:
            results = self._calls[method](**{name: constant(value) for name, value in values.items()})
        except self._tensorflow.errors.InvalidArgumentError as error:
            rule = f"isn't what the model takes: {_reason(str(error.message)):.300}"
            raise InvalidValue("the input", "…", rule) from error
        named = Outputs((name, _plain(name, result.numpy())) for name, result in results.items())
        if checked.doubt is not None and any(has_missing(result) for result in named.values()):
            raise checked.doubt
        return named


class _Signatures:
    """What each signature takes; a request that names none means the first."""

    def __init__(self, inputs: Mapping[str, Inputs]) -> None:
        self._inputs = inputs
        self._first = next(iter(inputs))

    def columns(self) -> Sequence[Column]:
        return self._inputs[self._first].columns()

    def tensors(self) -> Sequence[Tensor]:
        return self._inputs[self._first].tensors()

    def check(self, request: Request) -> Checked:
        inputs = self._inputs.get(request.method or self._first, self._inputs[self._first])
        if any(tensor.dtype == "string" for tensor in inputs.tensors()):
            request = msgspec.structs.replace(request, content=_with_bytes(request.content, request.field))
        return inputs.check(request)


def _tensors(specs: Mapping[str, Any]) -> list[Tensor]:
    tensors = []
    for name, spec in sorted(specs.items()):
        kind = spec.dtype.name
        if kind != "string" and not _is_numpys(kind):
            raise ModelNotLoaded("InputNotSupported", f"its tensor {name!r} is of the type {kind}, which JSON hasn't")
        shape = () if spec.shape.rank is None else tuple(-1 if size is None else size for size in spec.shape)
        tensors.append(Tensor(name, kind, shape))
    return tensors


def _is_numpys(kind: str) -> bool:
    try:
        return np.dtype(kind).kind in "fiub"
    except TypeError:
        return False


def _with_bytes(content: Table | Records | Named, field: str) -> Table | Records | Named:
    """A request's values in which each `{"b64": text}` is the bytes that it means."""
    if isinstance(content, Table):
        return Table(content.columns, _decoded(content.rows, field))
    if isinstance(content, Records):
        rows = _decoded(content.rows, field)
        return Records(rows) if all(isinstance(row, dict) for row in rows) else Table(None, rows)
    values = _decoded(content.values, field)
    return Named(values) if isinstance(values, dict) else Named({"b64": values})


def _decoded(value: Any, field: str) -> Any:
    if isinstance(value, list):
        return [_decoded(one, f"{field}[{number}]") for number, one in enumerate(value)]
    if not isinstance(value, dict):
        return value
    if value.keys() != {"b64"}:
        return {name: _decoded(one, f"{field}.{name}") for name, one in value.items()}
    try:
        return base64.b64decode(value["b64"], validate=True)
    except (binascii.Error, ValueError, TypeError) as error:
        raise InvalidValue(f"{field}.b64", value["b64"], "must be bytes in base64") from error


def _reason(message: str) -> str:
    """The sentence of TensorFlow's error, without the places in the model's source around it."""
    around = ("Graph execution error", "Detected at", "defined at", "File ", "<stack", "[[", " [Op:")
    lines = [line.strip() for line in message.splitlines()]
    return next((line for line in lines if line and not line.startswith(around)), "it gives no reason")


def _plain(name: str, result: Any) -> Any:
    """A tensor, its bytes as texts; as `{"b64": text}` where they are none, or the name says that they aren't."""
    if result.dtype != object:
        return result
    flat = np.empty(result.size, dtype=object)
    for place, value in enumerate(result.ravel()):
        try:
            flat[place] = value.decode() if not name.endswith("_bytes") else _in_base64(value)
        except UnicodeDecodeError:
            flat[place] = _in_base64(value)
    return flat.reshape(result.shape)


def _in_base64(value: bytes) -> dict[str, str]:
    return {"b64": base64.b64encode(value).decode()}
