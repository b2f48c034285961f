"""Have a model answer with a scoring script of one's own: `init` and `run`, as Azure ML has them.

    python examples/deploy_score_script.py [--workspace DIR]

The script in this file's folder `scoring/` is copied; it runs with the Python that deploys it. Needs the extras
`examples` and `deploy`: `pip install '.[examples,deploy]'` in the clone.
"""

import argparse
import json
import pickle
import tempfile
from pathlib import Path

from sklearn.datasets import load_diabetes
from sklearn.linear_model import Ridge

from mlflow_amlstore.core import Model, Workspace
from mlflow_amlstore.core.inference_config import InferenceConfig

SERVICE = "diabetes-script"
SOURCE = Path(__file__).parent / "scoring"


def register(workspace: Workspace) -> Model:
    """Train a ridge regression, and register it from a local file."""
    data, target = load_diabetes(return_X_y=True)
    with tempfile.TemporaryDirectory() as scratch:
        file = Path(scratch) / "model.pkl"
        file.write_bytes(pickle.dumps(Ridge(alpha=0.1).fit(data, target)))
        return Model.register(workspace, str(file), "diabetes_pickle")


def main() -> None:
    """Run the example from the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--workspace", type=Path, default=Path("amlstore-workspace"), metavar="DIR")
    arguments = parser.parse_args()

    workspace = Workspace.create(arguments.workspace)
    inference = InferenceConfig(entry_script="score.py", source_directory=SOURCE)
    service = Model.deploy(workspace, SERVICE, [register(workspace)], inference, overwrite=True)
    try:
        service.wait_for_deployment()
        rows = load_diabetes().data[:2].tolist()
        print("Answered:", service.run(json.dumps({"rows": rows})))
    finally:
        service.delete()


if __name__ == "__main__":
    main()
