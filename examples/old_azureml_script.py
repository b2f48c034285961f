"""Ridge regression in the manner of Azure ML's SDK v1; nothing in this script knows of mlflow-amlstore.

    python -m mlflow_amlstore.azureml examples/old_azureml_script.py [--workspace DIR] [--alphas 0.1 0.5 1.0]

The workspace is the one that config.json in DIR names; where there is no such folder, the script makes a workspace.
Needs the extra `examples`; with matplotlib it logs a picture, too.
"""

import argparse
import os
import pickle

import azureml.core
from azureml.core import Environment, Experiment, Run, Workspace
from azureml.core.conda_dependencies import CondaDependencies
from azureml.core.model import Model
from sklearn.datasets import load_diabetes
from sklearn.linear_model import Ridge
from sklearn.metrics import mean_squared_error
from sklearn.model_selection import train_test_split

parser = argparse.ArgumentParser()
parser.add_argument("--workspace", default="amlstore-workspace", metavar="DIR")
parser.add_argument("--alphas", type=float, nargs="+", default=[0.1, 0.5, 1.0])
args = parser.parse_args()

print("SDK version:", azureml.core.VERSION)
if not os.path.exists(args.workspace):
    Workspace.create(args.workspace)
ws = Workspace.from_config(args.workspace)
print("Workspace:", ws.name, ws.location, sep="\t")

data, target = load_diabetes(return_X_y=True)
X_train, X_test, y_train, y_test = train_test_split(data, target, test_size=0.2, random_state=0)

env = Environment("diabetes")
env.python.conda_dependencies = CondaDependencies.create(
    conda_packages=["scikit-learn"], pip_packages=["azureml-defaults"]
)
env.save_to_directory("environment", overwrite=True)

experiment = Experiment(workspace=ws, name="old-diabetes")
run = experiment.start_logging(snapshot_directory=None)
run.tag("phase", "search")
run.log_list("alphas", args.alphas)

best = None
for alpha in args.alphas:
    with run.child_run(name=f"alpha {alpha}") as child:
        model = Ridge(alpha=alpha).fit(X_train, y_train)
        mse = mean_squared_error(y_test, model.predict(X_test))
        child.log("alpha", alpha)
        child.log("mse", mse)
    run.log_row("errors", alpha=alpha, mse=mse)
    if best is None or mse < best[0]:
        best = (mse, alpha, model)

mse, alpha, model = best
run.log("alpha", alpha)
run.log("mse", mse)

try:
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    plt.scatter(y_test, model.predict(X_test))
    run.log_image("predicted", plot=plt)
except ImportError:
    print("No matplotlib, no picture")

os.makedirs("outputs", exist_ok=True)
with open("outputs/model.pkl", "wb") as f:
    pickle.dump(model, f)
run.upload_file("outputs/model.pkl", "outputs/model.pkl")
run.complete()

registered = run.register_model(
    model_name="old_diabetes",
    model_path="outputs/model.pkl",
    tags={"alpha": alpha},
    model_framework=Model.Framework.SCIKITLEARN,
)
print("Registered:", registered.name, registered.version, sep="\t")

again = Run(experiment, run.id)
print("Best:", {name: again.get_metrics()[name] for name in ("alpha", "mse")})
print("Children:", len(list(again.get_children())))
print("Files:", again.get_file_names())
print(again.get_status(), again.get_portal_url())
