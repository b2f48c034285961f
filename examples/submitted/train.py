"""A script of Azure ML's SDK, as its documents have it: it is submitted, and never edited."""

import argparse
from pathlib import Path

import joblib
from azureml.core.run import Run
from helper import split
from sklearn.linear_model import Ridge
from sklearn.metrics import mean_squared_error

parser = argparse.ArgumentParser()
parser.add_argument("--alpha", type=float, default=0.5)
arguments = parser.parse_args()

run = Run.get_context()
train, test, train_target, test_target = split()
model = Ridge(alpha=arguments.alpha).fit(train, train_target)
mse = mean_squared_error(test_target, model.predict(test))
run.log("alpha", arguments.alpha)
run.log("mse", mse)
print(f"alpha is {arguments.alpha:.2f}, and mse is {mse:.2f}")

Path("outputs").mkdir(exist_ok=True)
joblib.dump(model, f"outputs/ridge_{arguments.alpha:.2f}.pkl")
