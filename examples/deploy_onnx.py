"""Have an ONNX model answer over HTTP without code: a scikit-learn model that was converted.

    python examples/deploy_onnx.py [--workspace DIR]

Needs the extras `examples` and `deploy`, and the packages onnx, onnxruntime and skl2onnx:
`pip install '.[examples,deploy]' onnx onnxruntime skl2onnx` in the clone.
"""

import argparse
import json
import tempfile
from pathlib import Path

from sklearn.datasets import load_diabetes
from sklearn.linear_model import Ridge

from mlflow_amlstore.core import Model, Workspace

SERVICE = "diabetes-onnx"


def register(workspace: Workspace) -> Model:
    """Train a ridge regression, convert it, and register the file."""
    from skl2onnx import to_onnx

    data, target = load_diabetes(return_X_y=True)
    model = to_onnx(Ridge(alpha=0.1).fit(data, target), data[:1].astype("float32"))
    with tempfile.TemporaryDirectory() as scratch:
        file = Path(scratch) / "model.onnx"
        file.write_bytes(model.SerializeToString())
        return Model.register(workspace, str(file), "diabetes_onnx", model_framework=Model.Framework.ONNX)


def main() -> None:
    """Run the example from the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--workspace", type=Path, default=Path("amlstore-workspace"), metavar="DIR")
    arguments = parser.parse_args()

    workspace = Workspace.create(arguments.workspace)
    service = Model.deploy(workspace, SERVICE, [register(workspace)], overwrite=True)
    try:
        service.wait_for_deployment()
        rows = load_diabetes().data[:2].tolist()
        print("Predicted:", service.run(json.dumps({"data": rows})))
    finally:
        service.delete()


if __name__ == "__main__":
    main()
