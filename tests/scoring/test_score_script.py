"""A score.py is run as Azure ML's scoring containers run it: `init` once in a worker, `run` for each request."""

import http.client
import json
import os
import signal
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest
from scoring_processes import DEADLINE_S, KEYS, Scorer

pytest.importorskip("uvloop")

SCRIPT = {"framework": "Script", "entry_script": "src/score.py", "model": ""}
FAILED = "An unexpected error occurred in scoring script. Check the logs for more info."
ECHO = """
    def init():
        pass

    def run(raw_data):
        return raw_data
"""


@pytest.fixture
def serve_script(serve: Any, tmp_path: Path) -> Any:
    """Serve a script, with the files that a test has put beside it."""

    def start(text: str, **deployment: Any) -> Scorer:
        file = tmp_path / "served-0" / SCRIPT["entry_script"]
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(dedent(text))
        return serve(**{**SCRIPT, **deployment})

    return start


def test_the_documents_script_answers_with_its_model(serve_script: Any, tmp_path: Path) -> None:
    pytest.importorskip("sklearn")
    import joblib
    from sklearn.datasets import load_diabetes
    from sklearn.linear_model import Ridge

    data, target = load_diabetes(return_X_y=True)
    model = Ridge().fit(data, target)
    folder = tmp_path / "served-0" / "azureml-models" / "diabetes" / "3"
    folder.mkdir(parents=True)
    joblib.dump(model, folder / "model.pkl")
    scorer = serve_script(
        """
        import json
        import os

        import joblib
        import numpy as np

        def init():
            global model
            model = joblib.load(os.path.join(os.getenv("AZUREML_MODEL_DIR"), "model.pkl"))

        def run(raw_data):
            data = np.array(json.loads(raw_data)["data"])
            return model.predict(data).tolist()
        """,
        model="azureml-models",
        models=["diabetes/3"],
    ).healthy()
    answer = scorer.score({"data": data[:2].tolist()})
    assert answer.json == model.predict(data[:2]).tolist()
    assert answer.headers["x-ms-run-function-failed"] == "False"
    assert float(answer.headers["x-ms-run-fn-exec-ms"]) > 0
    (worker,) = scorer.workers()
    os.kill(worker, signal.SIGKILL)
    assert scorer.score({"data": data[:2].tolist()}).status == 200


def test_variables_and_paths_are_those_of_the_containers(serve_script: Any, tmp_path: Path) -> None:
    folder = tmp_path / "served-0"
    for name in ("first/1", "first/10", "first/9", "second/2"):
        (folder / "azureml-models" / name / "files").mkdir(parents=True)
    (folder / "src").mkdir()
    (folder / "src" / "beside.py").write_text("WHERE = 'beside'")
    scorer = serve_script(
        """
        import os
        import sys

        import beside
        from azureml.core.model import Model

        def init():
            pass

        def run(raw_data):
            names = "AZUREML_MODEL_DIR AZUREML_ENTRY_SCRIPT AZUREML_SOURCE_DIRECTORY AML_APP_ROOT".split()
            paths = [Model.get_model_path("first"), Model.get_model_path("first", version=9)]
            paths.append(Model.get_model_path(model_name="second"))
            return {"variables": [os.environ[name] for name in names], "paths": paths, "cwd": os.getcwd(),
                    "beside": beside.WHERE, "argv": sys.argv}
        """,
        model="azureml-models",
        models=["first/1", "first/10", "first/9", "second/2"],
    ).healthy()
    said = scorer.score({}).json
    assert said["variables"] == [str(folder / "azureml-models"), "src/score.py", "src", str(folder)]
    models = [f"{folder}/azureml-models/{name}/files" for name in ("first/10", "first/9", "second/2")]
    assert (said["paths"], said["cwd"], said["beside"]) == (models, str(folder), "beside")
    assert said["argv"] == [str(folder / "src" / "score.py")]


def test_a_model_that_isnt_there_and_more_of_the_sdk_are_errors_that_say_so(serve_script: Any, tmp_path: Path) -> None:
    folder = tmp_path / "served-0" / "model"
    folder.mkdir(parents=True)
    scorer = serve_script(
        """
        from azureml.core import Model

        def init():
            pass

        def run(raw_data):
            try:
                if raw_data == "workspace":
                    from azureml.core import Workspace
                if raw_data == "register":
                    Model.register
                return Model.get_model_path(raw_data)
            except Exception as error:
                return f"{type(error).__name__}: {error}"
        """,
        model="model",
    ).healthy()
    assert scorer.score(b"diabetes_model").json == str(folder)
    assert "Model 'other' not found. This endpoint has 'diabetes_model' 3" in scorer.score(b"other").json
    assert "azureml.core.Workspace in a scoring script is not supported" in scorer.score(b"workspace").json
    assert "Model.register in a scoring script" in scorer.score(b"register").json


@pytest.mark.parametrize(
    ("body", "kind"), [(b"any text", "text/plain"), (b'{"data": [1]}', "application/json"), ("ünï".encode(), "x/y")]
)
def test_without_decorators_run_is_given_the_body_as_text(serve_script: Any, body: bytes, kind: str) -> None:
    scorer = serve_script(ECHO).healthy()
    assert scorer.score(body, headers={"Content-Type": kind}).json == body.decode()


def test_a_query_is_input_and_what_isnt_text_is_a_400(serve_script: Any) -> None:
    scorer = serve_script(ECHO).healthy()
    assert json.loads(scorer.ask("/score?a=1&b=%5B2%5D&c=x&c=null").json) == {"a": 1, "b": [2], "c": ["x", None]}
    assert "cannot be decoded as UTF-8" in scorer.refused(b"\xff\xfe")
    assert scorer.ask("/score", method="OPTIONS").status == 200
    assert scorer.ask("/score", method="DELETE").status == 404
    assert scorer.ask("/score?a=1", key=None).status == 401


@pytest.mark.parametrize(
    ("value", "body"),
    [
        ("None", b"{}"),
        ("[1.5, 'x', True, None]", b'[1.5,"x",true,null]'),
        ("{1: {'a': (1, 2)}}", b'{"1":{"a":[1,2]}}'),
        ("'a text'", b'"a text"'),
        ("np.arange(3)", b"[0,1,2]"),
        ("{'scores': np.float32([0.5])}", b'{"scores":[0.5]}'),
    ],
)
def test_what_run_gives_is_answered_as_json(serve_script: Any, value: str, body: bytes) -> None:
    text = f"import numpy as np\ndef init(): pass\ndef run(data): return {value}\n"
    assert serve_script(text).healthy().score({}).body == body


def test_headers_reach_an_argument_of_their_name_but_for_the_key(serve_script: Any) -> None:
    text = "def init(): pass\ndef run(data, request_headers): print(request_headers); return request_headers\n"
    scorer = serve_script(text).healthy()
    said = scorer.score({}, headers={"x-mine": "1"}).json
    assert (said["X-Mine"], said["Content-Type"]) == ("1", "application/json")
    assert "Authorization" not in said
    assert KEYS[0] not in scorer.log.read_text()


FAILS = """
    import os
    import sys
    import time

    def init():
        print("init has run")

    def run(raw_data):
        if raw_data == "raise":
            raise RuntimeError("no such class")
        if raw_data == "exit":
            sys.exit(3)
        if raw_data == "hang":
            while True:
                time.sleep(0.01)
        if raw_data == "die":
            os._exit(4)
        if raw_data == "object":
            return object()
        return raw_data
"""


@pytest.mark.parametrize("what", ["raise", "exit", "object"])
def test_an_exception_is_a_500_whose_reason_is_in_the_log_alone(serve_script: Any, what: str) -> None:
    scorer = serve_script(FAILS).healthy()
    answer = scorer.score(what.encode())
    assert (answer.status, answer.json["message"]) == (500, FAILED)
    assert answer.headers["x-ms-run-function-failed"] == "True"
    why = {"raise": "RuntimeError: no such class", "exit": "SystemExit: 3", "object": "TypeError"}[what]
    assert why in scorer.log.read_text()
    assert scorer.score(b"good").json == "good"


def test_a_run_that_hangs_costs_one_answer(serve_script: Any) -> None:
    scorer = serve_script(FAILS, predict_limit_s=1.0).healthy()
    assert scorer.score(b"hang").status == 504
    scorer.wait_for("worker_back")
    assert scorer.score(b"good").json == "good"


def test_a_run_that_ends_its_worker_costs_one_answer(serve_script: Any) -> None:
    scorer = serve_script(FAILS).healthy()
    with pytest.raises((ConnectionError, http.client.HTTPException)):
        scorer.score(b"die")
    scorer.wait_for("worker_back")
    assert scorer.score(b"good").json == "good"


@pytest.mark.parametrize(
    ("text", "code", "parts"),
    [
        ("def run(data): pass", "ScriptInvalid", ["score.py", "init() function"]),
        ("def init(): pass", "ScriptInvalid", ["score.py", "run() function"]),
        ("def init(): pass\ndef run(*args): pass", "ScriptInvalid", ["*args"]),
        ("def init(): pass\ndef run(data, **more): pass", "ScriptInvalid", ["**kwargs"]),
        ("def init(): pass\ndef run(): pass", "ScriptInvalid", ["an argument for input data"]),
        ("def init(): pass\ndef run(request_headers): pass", "ScriptInvalid", ['other than "request_headers"']),
        ("def init(): pass\ndef run(a, b): pass", "ScriptInvalid", ["takes b", "@input_schema"]),
        ("def init() pass", "ScriptInvalid", ["isn't Python", "line 1"]),
        ("import no_such_package", "PackageMissing", ["no_such_package", "isn't installed"]),
        ("raise ValueError('at import')", "ImportFailed", ["ValueError: at import"]),
        ("def init(): raise ValueError('weights are gone')\ndef run(d): pass", "InitFailed", ["weights are gone"]),
        ("import sys\ndef init(): sys.exit(5)\ndef run(d): pass", "InitFailed", ["SystemExit: 5"]),
        ("import os\ndef init(): os._exit(5)\ndef run(d): pass", "WorkerDied", ["exit code 5"]),
    ],
)
def test_a_script_that_cant_serve_fails_with_its_reason(
    serve_script: Any, text: str, code: str, parts: list[str]
) -> None:
    event = serve_script(text).failed()
    assert event["code"] == code
    for part in parts:
        assert part in event["message"]
    if code == "InitFailed":
        assert 'score.py", line' in event["traceback"]


def test_an_init_that_hangs_is_ended_and_the_traceback_says_where(serve_script: Any) -> None:
    text = "import time\ndef init():\n    while True: time.sleep(0.01)\ndef run(data): pass\n"
    event = serve_script(text, load_limit_s=5.0).failed()
    assert event["code"] == "LoadTimedOut"
    assert 'score.py", line 3 in init' in event["traceback"]


def test_threads_of_init_live_and_signals_it_takes_are_given_back(serve_script: Any) -> None:
    scorer = serve_script(
        """
        import signal
        import threading

        counted = threading.Event()

        def init():
            for number in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1, signal.SIGCHLD):
                signal.signal(number, signal.SIG_IGN)
            threading.Thread(target=counted.set, daemon=True).start()
            threading.Thread(target=threading.Event().wait).start()

        def run(raw_data):
            return counted.wait(60)
        """
    ).healthy()
    assert scorer.score({}).json is True
    scorer.process.send_signal(signal.SIGTERM)
    assert scorer.process.wait(DEADLINE_S) == 0
    scorer.wait_for("stopped")


def test_init_and_run_may_be_async_and_share_a_loop(serve_script: Any) -> None:
    scorer = serve_script(
        """
        import asyncio

        async def init():
            global queue, loop
            queue, loop = asyncio.Queue(), asyncio.get_running_loop()
            await queue.put("from init")

        async def run(raw_data):
            return [await queue.get(), asyncio.get_running_loop() is loop]
        """
    ).healthy()
    assert scorer.score({}).json == ["from init", True]


def test_what_is_printed_is_in_the_log_at_once(serve_script: Any) -> None:
    text = "def init(): print('ready')\ndef run(data):\n    print('asked for', data, end='!\\n')\n    return 1\n"
    scorer = serve_script(text).healthy()
    assert "ready\n" in scorer.log.read_text()
    scorer.score(b"this")
    assert "asked for this!\n" in scorer.log.read_text()


def test_raw_http_gives_the_request_and_takes_a_response(serve_script: Any) -> None:
    scorer = serve_script(
        """
        from azureml.contrib.services.aml_request import AMLRequest, rawhttp
        from azureml.contrib.services.aml_response import AMLResponse

        def init():
            pass

        @rawhttp
        def run(request):
            assert isinstance(request, AMLRequest)
            if request.method == "GET":
                return AMLResponse(str.encode(request.full_path), 200)
            if request.args.get("how") == "json":
                return {"json": request.json, "same": request.get_json() == request.json, "path": request.path,
                        "type": request.headers["content-type"], "auth": "Authorization" in request.headers}
            if request.args.get("how") == "file":
                image = request.files["image"]
                return [image.filename, image.read().hex(), request.form["note"]]
            if request.args.get("how") == "odd":
                return request.environ
            response = AMLResponse(request.get_data(False)[::-1], 202, {"Content-Type": "image/png"})
            response.headers["Allow"] = "GET, POST"
            response.headers["Content-Length"] = "999"
            return response
        """
    ).healthy()
    assert scorer.ask("/score?a=b").body == b"/score?a=b"
    expected = {"json": {"a": 1}, "same": True, "path": "/score", "type": "application/json", "auth": False}
    assert scorer.ask("/score?how=json", {"a": 1}).json == expected
    answer = scorer.score(bytes(range(256)))
    assert (answer.status, answer.body) == (202, bytes(range(256))[::-1])
    assert (answer.headers["content-type"], answer.headers["allow"]) == ("image/png", "GET, POST")
    assert answer.headers["content-length"] == "256"
    content = b"\r\n--x\n\r\r\n" + bytes(range(256))
    body = b'--x1\r\nContent-Disposition: form-data; name="note"\r\n\r\nhello\r\n'
    body += (
        b'--x1\r\nContent-Disposition: form-data; name="image"; filename="a b.png"\r\nContent-Type: image/png\r\n\r\n'
    )
    sent = {"Content-Type": 'multipart/form-data; boundary="x1"'}
    answer = scorer.ask("/score?how=file", body + content + b"\r\n--x1--\r\n", headers=sent)
    assert answer.json == ["a b.png", content.hex(), "hello"]
    assert "last boundary" in scorer.ask("/score?how=file", body, headers=sent).json["message"]
    assert "request.environ is not supported" in scorer.refused(b"", 501, path="/score?how=odd")
    assert "not be decoded as JSON" in scorer.refused(b"{", path="/score?how=json")


def test_a_response_that_cant_be_sent_is_a_500_and_the_connection_goes_on(serve_script: Any) -> None:
    scorer = serve_script(
        """
        from azureml.contrib.services.aml_response import AMLResponse

        def init():
            pass

        def run(raw_data):
            if raw_data == "header":
                return AMLResponse("x", 200, {"X-Bad": "a\\r\\nX-Injected: 1"})
            return AMLResponse("x", int(raw_data))
        """
    ).healthy()
    connection = scorer.connection()
    for raw, status in (("header", 500), ("99", 500), ("200", 200), ("503", 503)):
        answer = scorer.score(raw.encode(), connection=connection)
        assert answer.status == status
        assert "x-injected" not in answer.headers
    assert answer.headers["x-ms-run-function-failed"] == "True"


def test_without_decorators_swagger_says_an_object(serve_script: Any) -> None:
    scorer = serve_script(ECHO).healthy()
    said = scorer.ask("/swagger.json").json
    assert said["definitions"]["ServiceInput"] == {"type": "object", "example": {}}
    assert said["paths"]["/score"]["post"]["operationId"] == "RunMLService"


SCHEMA = """
    import numpy as np
    import pandas as pd
    from inference_schema.parameter_types.numpy_parameter_type import NumpyParameterType
    from inference_schema.parameter_types.pandas_parameter_type import PandasParameterType
    from inference_schema.parameter_types.standard_py_parameter_type import StandardPythonParameterType
    from inference_schema.schema_decorators import input_schema, output_schema

    def init():
        pass

    @input_schema("data", NumpyParameterType(np.array([[0.1, 1.2]])))
    @input_schema("frame", PandasParameterType(pd.DataFrame({"name": ["a"], "age": [1]})))
    @input_schema("factor", StandardPythonParameterType(2.0))
    @output_schema(NumpyParameterType(np.array([1.0])))
    def run(data, frame, factor=1.0, request_headers=None):
        if factor < 0:
            raise ValueError("no negative factors")
        assert "Content-Type" in request_headers
        return (data.sum(axis=1) * frame["age"].to_numpy() * factor).tolist()
"""
ARGUMENTS = {"data": [[1, 2], [3, 4]], "frame": [{"name": "a", "age": 1}, {"name": "b", "age": 10}], "factor": 0.5}


@pytest.mark.needs("inference_schema")
def test_decorators_convert_arguments_by_name(serve_script: Any) -> None:
    scorer = serve_script(SCHEMA).healthy()
    assert scorer.score(ARGUMENTS).json == [1.5, 35.0]
    without = {name: value for name, value in ARGUMENTS.items() if name != "factor"}
    assert scorer.score(without).json == [3.0, 70.0]
    query = "data=%5B%5B1,2%5D%5D&frame=%5B%7B%22name%22:%22a%22,%22age%22:2%7D%5D"
    assert scorer.ask(f"/score?{query}", headers={"Content-Type": "application/json"}).json == [6.0]


@pytest.mark.needs("inference_schema")
@pytest.mark.parametrize(
    ("body", "status", "said"),
    [
        ({"frame": []}, 400, "A value is not provided for the 'data' parameter."),
        (b"{", 400, "POST body could not be decoded as JSON"),
        (b"", 400, "POST body is empty"),
        ([1], 400, "POST body should be a JSON dictionary"),
        ({**ARGUMENTS, "data": [[1, 2, 3]]}, 400, "for data: Invalid input array: array has size 3"),
        ({**ARGUMENTS, "data": [["x", 2]]}, 400, "for data: could not convert string to float"),
        ({**ARGUMENTS, "factor": "x"}, 400, "for factor: Invalid input data type to parse"),
        ({**ARGUMENTS, "factor": -1.0}, 500, FAILED),
    ],
)
def test_an_argument_that_isnt_as_decorated_is_named(serve_script: Any, body: Any, status: int, said: str) -> None:
    assert said in serve_script(SCHEMA).healthy().refused(body, status)


@pytest.mark.needs("inference_schema")
def test_decorated_run_takes_json_alone(serve_script: Any) -> None:
    scorer = serve_script(SCHEMA).healthy()
    answer = scorer.score(json.dumps(ARGUMENTS).encode(), headers={"Content-Type": "text/plain"})
    assert answer.status == 415
    assert "Expects Content-Type to be application/json" in answer.json["message"]


@pytest.mark.needs("inference_schema")
def test_swagger_has_the_decorators_types_and_examples(serve_script: Any) -> None:
    scorer = serve_script(SCHEMA).healthy()
    definitions = scorer.ask("/swagger.json").json["definitions"]
    given = definitions["ServiceInput"]
    assert given["example"] == {
        "data": [[0.1, 1.2]],
        "frame": [{"name": "a", "age": 1}],
        "factor": 2.0,
        "request_headers": "",
    }
    assert given["properties"]["data"]["format"] == "numpy.ndarray"
    assert definitions["ServiceOutput"]["format"] == "numpy.ndarray"
    example = {name: value for name, value in given["example"].items() if name != "request_headers"}
    assert scorer.score(example).status == 200
    schemas = scorer.ask("/swagger.json?version=3").json["components"]["schemas"]
    assert schemas["ServiceInput"] == given


@pytest.mark.needs("inference_schema")
def test_raw_http_and_types_together_are_refused(serve_script: Any) -> None:
    text = dedent(SCHEMA).replace('@input_schema("data"', '@rawhttp\n@input_schema("data"')
    event = serve_script(f"from azureml.contrib.services.aml_request import rawhttp\n{text}").failed()
    assert (event["code"], "both @rawhttp and @input_schema" in event["message"]) == ("ScriptInvalid", True)
