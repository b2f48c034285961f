"""The scoring script of deploy_score_script.py: `init` once in each process, `run` for each request."""

import json
import os
import pickle
from pathlib import Path
from typing import Any

model: Any = None


def init() -> None:
    """Load the model, whose folder AZUREML_MODEL_DIR names."""
    global model
    model = pickle.loads((Path(os.environ["AZUREML_MODEL_DIR"]) / "model.pkl").read_bytes())


def run(raw_data: str) -> dict[str, Any]:
    """Answer {"rows": [[…], …]} with predictions, rounded, and their mean."""
    predicted = model.predict(json.loads(raw_data)["rows"])
    return {"predicted": [round(float(value), 2) for value in predicted], "mean": round(float(predicted.mean()), 2)}
