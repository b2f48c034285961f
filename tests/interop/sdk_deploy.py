"""Deploys a registered model with Azure ML's SDK, asks it, and deletes it again; tells as JSON what came of each.

    python sdk_deploy.py azureml FOLDER

FOLDER has `ridge.skops`, a scikit-learn model. Environment as for `sdk_script.py`, whose way into the workspace it
takes.
"""

import importlib
import io
import json
import os
import sys
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

from sdk_script import find_this_machine, open_workspace

ROWS = [[2.0], [3.0]]
SCRIPT = """\
import json

def init():
    print("the script is there")

def run(raw_data):
    return {"twice": [2 * value for value in json.loads(raw_data)["data"]]}
"""


def error_of(action: Any) -> str:
    try:
        action()
    except Exception as error:
        return str(error)
    return ""


def deploy_all(folder: Path) -> dict[str, Any]:
    Model = importlib.import_module("azureml.core.model").Model
    webservice = importlib.import_module("azureml.core.webservice")
    Webservice = webservice.Webservice
    ws = open_workspace()
    told: dict[str, Any] = {}
    model = Model.register(ws, "ridge.skops", "diabetes_model", model_framework=Model.Framework.SCIKITLEARN)
    service = Model.deploy(ws, "diabetes-service", [model])
    printed = io.StringIO()
    with redirect_stdout(printed):
        service.wait_for_deployment(show_output=True)
    told["printed"] = printed.getvalue()
    told["state"] = service.state
    again = Webservice(ws, "diabetes-service")
    told["class"] = type(again).__name__
    told["auth"] = again.auth_enabled
    told["scoring_uri"], told["swagger_uri"] = again.scoring_uri, again.swagger_uri
    told["answer"] = again.run(json.dumps({"data": ROWS, "method": "predict"}))
    keys = again.get_keys()
    again.regen_key("Primary")
    told["keys"] = [len(set(keys)), again.get_keys()[0] != keys[0], again.get_keys()[1] == keys[1]]
    told["after the key changed"] = again.run(json.dumps({"data": ROWS}))
    told["wrong input"] = error_of(lambda: again.run(json.dumps({"data": [[1.0, 2.0]]})))
    told["log"] = again.get_logs()
    again.update(tags={"team": "a"}, description="of the tests")
    told["updated"] = [Webservice(ws, "diabetes-service").tags, Webservice(ws, "diabetes-service").description]
    told["listed"] = [
        [each.name for each in Webservice.list(ws)],
        [each.name for each in Webservice.list(ws, model_name="diabetes_model", compute_type="ACI")],
        [each.name for each in Webservice.list(ws, model_name="other")],
        sorted(ws.webservices),
    ]
    told["taken"] = error_of(lambda: Model.deploy(ws, "diabetes-service", [model]))
    broken = Model.register(ws, "broken.skops", "broken", model_framework=Model.Framework.SCIKITLEARN)
    failing = Model.deploy(ws, "failing-service", [broken])
    told["failed"] = error_of(lambda: failing.wait_for_deployment())
    told["failed state"] = failing.state
    failing.delete()
    told.update(with_script(ws, folder, model, Model, webservice))
    again.delete()
    told["left"] = [each.name for each in Webservice.list(ws)]
    told["gone"] = error_of(lambda: Webservice(ws, "diabetes-service"))
    return told


def with_script(ws: Any, folder: Path, model: Any, Model: Any, webservice: Any) -> dict[str, Any]:
    core = importlib.import_module("azureml.core")
    inference = importlib.import_module("azureml.core.model").InferenceConfig
    source = folder / "source"
    source.mkdir()
    (source / "score.py").write_text(SCRIPT, encoding="utf-8")
    environment = core.Environment("as-it-is")
    environment.python.user_managed_dependencies = True
    environment.python.interpreter_path = (folder / "python.txt").read_text(encoding="utf-8")
    config = inference(entry_script="score.py", source_directory=str(source), environment=environment)
    service = Model.deploy(
        ws, "with-script", [model], config, webservice.AciWebservice.deploy_configuration(cpu_cores=1, memory_gb=1)
    )
    error = error_of(service.wait_for_deployment)
    answer = error or service.run(json.dumps({"data": [1, 2]}))
    log = service.get_logs()
    service.delete()
    return {"script's answer": answer, "script's log": log}


if __name__ == "__main__":
    find_this_machine()
    os.chdir(sys.argv[2])  # the SDK registers nothing from elsewhere
    print(json.dumps(deploy_all(Path(sys.argv[2]))))
