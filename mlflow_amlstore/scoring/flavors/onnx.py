"""ONNX models, called directly with ONNX Runtime.

What is imported is shared by the workers; each opens a session of its own, as its threads don't survive a fork.
Libraries with operators of the model's own are never loaded.
"""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from mlflow_amlstore.errors import InvalidValue, ModelNotLoaded
from mlflow_amlstore.scoring.deployment import Deployment
from mlflow_amlstore.scoring.flavors import onnx_files
from mlflow_amlstore.scoring.inputs import Checked, Inputs, Tensor, column_names, has_missing, of_tensors
from mlflow_amlstore.scoring.payloads import Outputs

ENDING = ".onnx"
PREDICT = "predict"
# ONNX Runtime's names of types, and NumPy's. Others can't be brought by a request.
_TYPES = {
    "tensor(bool)": "bool",
    "tensor(double)": "float64",
    "tensor(float)": "float32",
    "tensor(float16)": "float16",
    "tensor(string)": "string",
    **{f"tensor({kind}{bits})": f"{kind}{bits}" for kind in ("int", "uint") for bits in (8, 16, 32, 64)},
}
_SMALL_BYTES = 1_000_000
"""A model that is smaller is as fast with one thread, and without memory that is kept between predictions."""


class Found(msgspec.Struct, frozen=True):
    """A model's file, and the folder that its weights may lie in."""

    file: Path
    folder: Path | None


def find(path: Path) -> Found | None:
    """The file of an ONNX model: the path itself, the only one in a folder, or what MLflow's MLmodel names."""
    if path.is_file():
        return Found(path, None)
    about = path / "MLmodel"
    if about.exists():
        import yaml

        said = (yaml.safe_load(about.read_text(encoding="utf-8")) or {}).get("flavors", {}).get("onnx")
        if not said:
            return None
        file = path / said["data"]
        if not file.exists() or not file.resolve().is_relative_to(path.resolve()):
            raise ModelNotLoaded("FileMissing", f"MLmodel names {said['data']}, which isn't in its folder")
        return find(file) if file.is_dir() else Found(file, file.parent)
    files = sorted(path.glob(f"*{ENDING}"))
    return Found(files[0], path) if len(files) == 1 else None


class OnnxModel:
    """A graph."""

    def __init__(self, deployment: Deployment, found: Found) -> None:
        self._deployment, self._found = deployment, found

    def load(self) -> None:
        """Check the file, and import ONNX Runtime."""
        onnx_files.check(self._found.file, self._found.folder)
        # It would report to Microsoft, from a thread that it starts when it is imported.
        os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
        import onnxruntime

        self._onnxruntime = onnxruntime

    def open(self) -> None:
        """Open the session, and find out what the model takes and gives."""
        runtime = self._onnxruntime
        options = runtime.SessionOptions()
        options.intra_op_num_threads = int(os.environ.get("OMP_NUM_THREADS", "1"))  # a worker's part of the cores
        options.inter_op_num_threads = 1
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")  # it would use a core to wait
        options.log_severity_level = 3  # errors
        if self._is_small():
            options.enable_cpu_mem_arena = options.enable_mem_pattern = False
            options.intra_op_num_threads = 1
        try:
            session = runtime.InferenceSession(str(self._found.file), options, providers=["CPUExecutionProvider"])
        except Exception as error:  # ONNX Runtime's errors have no class in common
            raise ModelNotLoaded("LoadFailed", f"ONNX Runtime can't open {self._found.file.name}: {error}") from error
        self._inputs = _what_it_takes(session.get_inputs(), column_names(self._deployment.signature or {}))
        self._only_input = session.get_inputs()[0].name
        self._outputs = [one.name for one in session.get_outputs()]
        self._shapes = [Tensor(one.name, _TYPES.get(one.type, "object"), _shape(one)) for one in session.get_outputs()]
        self._wanted = {name: [name] for name in self._outputs if len(self._outputs) > 1 and name != PREDICT}
        self._methods = (PREDICT, *self._wanted)
        self._wanted[PREDICT] = self._outputs
        self._run = session.run
        self._refused = runtime.capi.onnxruntime_pybind11_state.InvalidArgument

    def _is_small(self) -> bool:
        file, folder = self._found.file, self._found.folder
        files = [file] if folder is None else [one for one in folder.iterdir() if one.is_file()]
        return sum(one.stat().st_size for one in files) < _SMALL_BYTES

    @property
    def inputs(self) -> Inputs:
        return self._inputs

    @property
    def outputs(self) -> Sequence[Tensor]:
        """What the model gives."""
        return self._shapes

    @property
    def methods(self) -> tuple[str, ...]:
        """`predict` gives all outputs; where there are several, the name of each gives it alone."""
        return self._methods

    @property
    def classic_method(self) -> str:
        return PREDICT

    @property
    def answers_frames(self) -> bool:
        return False

    def predict(self, checked: Checked, method: str, params: Mapping[str, Any] | None) -> Any:
        values, names = checked.values, self._wanted[method]
        try:
            results = self._run(names, values if type(values) is dict else {self._only_input: values})
        except self._refused as error:
            said = str(error).rpartition("INVALID_ARGUMENT : ")[2]
            raise InvalidValue("the input", "…", f"isn't what the model takes: {said:.300}") from error
        if checked.doubt is not None and any(has_missing(result) for result in results):
            raise checked.doubt
        return Outputs(zip(names, results, strict=True))


def _what_it_takes(inputs: Sequence[Any], names: Sequence[str]) -> Inputs:
    """One table of numbers, or tensors. Raises ModelNotLoaded."""
    tensors = []
    for one in inputs:
        if one.type not in _TYPES:
            kinds = ", ".join(kind[7:-1] for kind in _TYPES)
            rule = f"its input {one.name!r} is a {one.type}; a request brings tensors of {kinds}"
            raise ModelNotLoaded("InputNotSupported", rule)
        tensors.append(Tensor(one.name, _TYPES[one.type], _shape(one)))
    if not tensors:
        raise ModelNotLoaded("InputNotSupported", "it has no input")
    axes = {one.name: tuple(size if isinstance(size, str) else "" for size in one.shape) for one in inputs}
    return of_tensors(tensors, axes, names)


def _shape(one: Any) -> tuple[int, ...]:
    """A shape in which what is free is −1, whether the model has a name for it or not."""
    return tuple(size if isinstance(size, int) and size >= 0 else -1 for size in one.shape or ())
