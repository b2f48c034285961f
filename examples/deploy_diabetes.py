"""Train a model of scikit-learn's diabetes data, register it, have it answer over HTTP without code, and clean up.

    python examples/deploy_diabetes.py [--workspace DIR]

The endpoint runs on this machine, and is deleted at the end. Needs the extras `examples` and `deploy`:
`pip install '.[examples,deploy]'` in the clone.
"""

import argparse
import json
import pickle
import tempfile
from pathlib import Path

import sklearn
from sklearn.datasets import load_diabetes
from sklearn.linear_model import Ridge

from mlflow_amlstore.core import Experiment, Model, Workspace
from mlflow_amlstore.core.webservice import AciWebservice

SERVICE = "diabetes-service"


def train(workspace: Workspace) -> Model:
    """Train a ridge regression in a run, and register what it wrote."""
    data, target = load_diabetes(return_X_y=True)
    run = Experiment(workspace, "diabetes").start_logging(snapshot_directory=None)
    with tempfile.TemporaryDirectory() as scratch:
        file = Path(scratch) / "model.pkl"
        file.write_bytes(pickle.dumps(Ridge(alpha=0.1).fit(data, target)))
        run.upload_file("outputs/model.pkl", str(file))
    run.complete()
    return run.register_model(
        "diabetes_model",
        "outputs/model.pkl",
        model_framework=Model.Framework.SCIKITLEARN,
        model_framework_version=sklearn.__version__,
    )


def main() -> None:
    """Run the example from the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--workspace", type=Path, default=Path("amlstore-workspace"), metavar="DIR")
    arguments = parser.parse_args()

    workspace = Workspace.create(arguments.workspace)
    model = train(workspace)
    service = Model.deploy(
        workspace, SERVICE, [model], deployment_config=AciWebservice.deploy_configuration(), overwrite=True
    )
    try:
        service.wait_for_deployment(show_output=True)
        rows = load_diabetes().data[:2].tolist()
        print("Predicted:", service.run(json.dumps({"data": rows, "method": "predict"})))
        print(f"{service.name} is {service.state} at {service.scoring_uri}")
    finally:
        service.delete()
    print("Webservices left:", list(workspace.webservices))


if __name__ == "__main__":
    main()
