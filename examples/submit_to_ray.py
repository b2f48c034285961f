"""The submitted script of the sweep as a job of a Ray cluster, by its address.

    python examples/submit_to_ray.py [--workspace DIR] RAY-ADDRESS

RAY-ADDRESS is ray://HOST or http://HOST:8265. With --workspace the workspace is in that folder, and Ray on this
machine; without, it is that of the nearest config.json, such as a service's. Where the cluster asks for a token, set
RAY_AUTH_TOKEN. Ray installs what the script needs, but for --cluster-has-packages. Needs the extra `embedded`.
"""

import argparse
from pathlib import Path

from mlflow_amlstore.core import Environment, Experiment, ScriptRunConfig, Workspace

EXPERIMENT = "diabetes-on-ray"
SOURCE = Path(__file__).parent / "submitted"


def environment(cluster_has_packages: bool) -> Environment:
    """What the script runs in: the cluster's Python, with these packages beside its own."""
    described = Environment("sklearn-on-ray")
    described.python.user_managed_dependencies = cluster_has_packages
    for package in ("pandas", "scikit-learn"):
        described.python.conda_dependencies.add_pip_package(package)
    return described


def main() -> None:
    """Run the example from the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("address", metavar="RAY-ADDRESS")
    parser.add_argument("--workspace", type=Path, metavar="DIR")
    parser.add_argument("--cluster-has-packages", action="store_true")
    arguments = parser.parse_args()

    workspace = Workspace.create(arguments.workspace) if arguments.workspace else Workspace.from_config()
    config = ScriptRunConfig(
        SOURCE,
        script="train.py",
        arguments=["--alpha", 0.5],
        compute_target=arguments.address,
        environment=environment(arguments.cluster_has_packages),
    )
    run = Experiment(workspace, EXPERIMENT).submit(config)
    run.wait_for_completion(show_output=True)
    print(f"mse {run.get_metrics()['mse']:.0f}, files {', '.join(run.get_file_names())}")


if __name__ == "__main__":
    main()
