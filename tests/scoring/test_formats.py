"""An endpoint takes the formats of Azure ML, MLflow, KServe and TensorFlow Serving, and answers each in its shape."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("sklearn")
pytest.importorskip("skops")

from scoring_processes import Scorer, save, scoring, served_folder
from sklearn.datasets import load_diabetes, load_iris
from sklearn.linear_model import LogisticRegression, Ridge

DATA, TARGET = load_diabetes(return_X_y=True)
MODEL = Ridge().fit(DATA, TARGET)
ROWS = DATA[:2].tolist()
EXPECTED = MODEL.predict(DATA[:2]).tolist()
FLOWERS, KINDS = load_iris(return_X_y=True, as_frame=True)
CLASSIFIER = LogisticRegression(max_iter=1000).fit(FLOWERS, KINDS)
NAMES = list(FLOWERS.columns)
FLOWER_ROWS = FLOWERS.to_numpy()[:2].tolist()


@pytest.fixture(scope="module")
def ridge(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scorer]:
    """A model that was fitted on an array, so that it has no names."""
    folder = served_folder(tmp_path_factory.mktemp("ridge"))
    save(MODEL, folder / "model.skops")
    with scoring(folder) as scorer:
        yield scorer.healthy()


@pytest.fixture(scope="module")
def iris(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scorer]:
    """A classifier that was fitted on a DataFrame, so that it has names."""
    folder = served_folder(tmp_path_factory.mktemp("iris"), model_name="iris")
    save(CLASSIFIER, folder / "model.skops")
    with scoring(folder) as scorer:
        yield scorer.healthy()


@pytest.mark.parametrize("path", ["/score", "/invocations"])
@pytest.mark.parametrize(
    ("body", "answer"),
    [
        ({"data": ROWS}, EXPECTED),
        ({"data": ROWS, "method": "predict"}, EXPECTED),
        ({"input_data": ROWS}, EXPECTED),
        ({"input_data": {"columns": list(range(10)), "index": [0, 1], "data": ROWS}}, EXPECTED),
        ({"input_data": {f"x{n}": [row[n] for row in ROWS] for n in range(10)}}, EXPECTED),
        ({"dataframe_split": {"columns": [f"x{n}" for n in range(10)], "data": ROWS}}, {"predictions": EXPECTED}),
        ({"dataframe_records": [dict(zip("abcdefghij", row, strict=True)) for row in ROWS]}, {"predictions": EXPECTED}),
        ({"instances": ROWS}, {"predictions": EXPECTED}),
        ({"inputs": ROWS}, {"predictions": EXPECTED}),
        ({"inputs": {"x": ROWS}, "params": {}}, {"predictions": EXPECTED}),
    ],
)
def test_every_format_gives_the_models_numbers_exactly(ridge: Scorer, path: str, body: Any, answer: Any) -> None:
    got = ridge.ask(path, body)
    assert (got.status, got.json) == (200, answer)


def test_csv_has_the_columns_names_in_its_first_line(iris: Scorer) -> None:
    lines = [",".join(reversed(NAMES)), *(",".join(map(str, reversed(row))) for row in FLOWER_ROWS)]
    got = iris.ask("/invocations", "\n".join(lines).encode(), headers={"Content-Type": "text/csv"})
    assert got.json == {"predictions": [0, 0]}


def test_kserve_asks_for_tensors_and_gets_tensors(ridge: Scorer) -> None:
    tensor = {"name": "x", "shape": [2, 10], "datatype": "FP64", "data": DATA[:2].ravel().tolist()}
    got = ridge.ask("/v2/models/diabetes_model/infer", {"id": "7", "inputs": [tensor]})
    output = {"name": "predict", "shape": [2], "datatype": "FP64", "data": EXPECTED}
    assert got.json == {"model_name": "diabetes_model", "model_version": "3", "id": "7", "outputs": [output]}
    assert ridge.ask("/v2/models/diabetes_model/versions/3/infer", {"inputs": [tensor]}).json["outputs"] == [output]
    assert ridge.score({"inputs": [tensor]}).json["outputs"] == [output]


def test_kserve_names_columns_by_tensors_and_the_method_by_an_output(iris: Scorer) -> None:
    tensors = [
        {"name": name, "shape": [2, 1], "datatype": "FP64", "data": FLOWERS[name][:2].tolist()} for name in NAMES[::-1]
    ]
    got = iris.ask("/v2/models/iris/infer", {"inputs": tensors, "outputs": [{"name": "predict_proba"}]})
    (output,) = got.json["outputs"]
    assert (output["name"], output["shape"]) == ("predict_proba", [2, 3])
    assert output["data"] == CLASSIFIER.predict_proba(FLOWERS[:2]).ravel().tolist()


def test_kserve_is_told_what_the_model_takes(ridge: Scorer) -> None:
    about = ridge.ask("/v2/models/diabetes_model").json
    assert about["inputs"] == [{"name": "input-0", "datatype": "FP64", "shape": [-1, 10]}]
    assert ridge.ask("/v2/health/live", key=None).json == {"live": True}
    assert ridge.ask("/v2/health/ready", key=None).json == {"ready": True}
    assert ridge.ask("/v2/models/diabetes_model/ready", key=None).json == {"ready": True}


def test_tensorflow_servings_paths_answer_by_rows_or_by_columns(ridge: Scorer) -> None:
    path = "/v1/models/diabetes_model:predict"
    assert ridge.ask(path, {"instances": ROWS}).json == {"predictions": EXPECTED}
    assert ridge.ask(path, {"inputs": ROWS}).json == {"outputs": EXPECTED}
    assert ridge.ask("/score:predict", {"signature_name": "serving_default", "instances": ROWS}).status == 200
    assert "error" in ridge.ask(path, {"instances": []}).json


def test_without_a_method_data_is_answered_with_probabilities_and_mlflow_with_the_prediction(iris: Scorer) -> None:
    assert iris.score({"data": FLOWER_ROWS}).json == CLASSIFIER.predict_proba(FLOWERS[:2]).tolist()
    assert iris.score({"data": FLOWER_ROWS, "method": "predict"}).json == [0, 0]
    assert iris.score({"dataframe_split": {"columns": NAMES, "data": FLOWER_ROWS}}).json == {"predictions": [0, 0]}
    scores = CLASSIFIER.decision_function(FLOWERS[:2]).tolist()
    assert iris.score({"data": FLOWER_ROWS, "method": "decision_function"}).json == scores


def test_columns_come_in_any_order_and_others_are_left_out(iris: Scorer) -> None:
    mixed = [NAMES[2], "colour", NAMES[0], NAMES[3], NAMES[1]]
    rows = [[row[2], "blue", row[0], row[3], row[1]] for row in FLOWER_ROWS]
    expected = CLASSIFIER.predict(FLOWERS[:2]).tolist()
    assert iris.score({"input_data": {"columns": mixed, "data": rows}}).json == expected
    records = [dict(zip(mixed, row, strict=True)) for row in rows]
    assert iris.score({"dataframe_records": records}).json == {"predictions": expected}


def test_float32_and_large_integers_come_back_as_the_same_numbers(serve: Any) -> None:
    from sklearn.dummy import DummyClassifier

    large = 2**62 + 1
    model = DummyClassifier(strategy="constant", constant=large).fit([[0.0], [1.0]], [large, 5])
    got = serve(model).healthy().score({"data": [[1]], "method": "predict"})
    assert got.body == str([large]).encode()
    small = Ridge().fit(DATA.astype("float32"), TARGET.astype("float32"))
    folder_model = serve(small, signature=float32_signature()).healthy()
    values = json.loads(folder_model.score({"data": ROWS}).body)
    assert np.array(values, "float32").tolist() == values == small.predict(DATA[:2].astype("float32")).tolist()


def float32_signature() -> dict[str, str]:
    return {"inputs": json.dumps([{"type": "tensor", "tensor-spec": {"dtype": "float32", "shape": [-1, 10]}}])}


def test_headers_are_those_of_azure_mls_images(ridge: Scorer) -> None:
    sent = {"x-request-id": "mine", "x-ms-client-request-id": "yours", "TraceId": "t"}
    headers = ridge.score({"data": ROWS}, headers=sent).headers
    assert headers["x-ms-run-function-failed"] == "False"
    assert float(headers["x-ms-run-fn-exec-ms"]) > 0
    assert (headers["x-request-id"], headers["x-ms-request-id"]) == ("mine", "mine")
    assert (headers["x-ms-client-request-id"], headers["traceid"]) == ("yours", "t")
    assert headers["x-ms-server-version"].startswith("amlstore/")
    assert ridge.score({"data": ROWS}, headers={"x-request-id": "x" * 101}).status == 431


@pytest.mark.parametrize(("version", "said"), [("2", {"swagger": "2.0"}), ("3", {"openapi": "3.0.3"})])
def test_the_swaggers_example_can_be_sent_as_it_is(ridge: Scorer, version: str, said: dict[str, str]) -> None:
    document = ridge.ask(f"/swagger.json?version={version}").json
    assert said.items() <= document.items()
    schemas = document["definitions"] if version == "2" else document["components"]["schemas"]
    assert schemas["ServiceOutput"]["format"] == "numpy.ndarray"
    assert ridge.score(schemas["ServiceInput"]["example"]).status == 200
    assert set(document["paths"]) == {"/", "/score"}
    assert "Bearer" in (document.get("securityDefinitions") or document["components"]["securitySchemes"])


def test_a_swagger_version_that_isnt_there_is_a_404_that_lists_those_that_are(ridge: Scorer) -> None:
    got = ridge.ask("/swagger.json?version=4")
    assert got.status == 404
    assert "2, 3" in got.json["message"]


def test_the_swagger_shows_the_deployments_own_example(serve: Any) -> None:
    example = {"columns": NAMES, "data": FLOWER_ROWS[:1]}
    scorer = serve(CLASSIFIER, example=example).healthy()
    schema = scorer.ask("/swagger.json?version=3").json["components"]["schemas"]["ServiceInput"]
    assert schema["example"] == {"input_data": example}
    assert scorer.score(schema["example"]).json == [0]


def test_mlflows_own_client_reads_the_answers(serve: Any) -> None:
    from mlflow.pyfunc.scoring_server.client import ScoringServerClient

    scorer = serve(CLASSIFIER, auth=False).healthy()
    client = ScoringServerClient("127.0.0.1", scorer.port)
    client.ping()  # raises where it isn't answered 200
    assert client.invoke(FLOWERS[:2]).get_predictions()[0].tolist() == [0, 0]


def test_mlflows_folder_is_served_directly_and_as_it_is(serve: Any, tmp_path: Path) -> None:
    import mlflow.sklearn
    from mlflow.models import infer_signature

    signature = infer_signature(FLOWERS, CLASSIFIER.predict(FLOWERS))
    mlflow.sklearn.save_model(CLASSIFIER, tmp_path / "served-0" / "model", signature=signature)
    said = {name: value for name, value in signature.to_dict().items() if value}
    scorer = serve(framework="MLflow", model="model", signature=said).healthy()
    assert scorer.score({"data": FLOWER_ROWS, "method": "predict"}).json == [0, 0]
    assert "sepal length" in scorer.refused({"dataframe_split": {"columns": NAMES[1:], "data": [[1, 2, 3]]}})


@pytest.mark.parametrize("rows", [["good film", "bad film"], [["good film"], ["bad film"]]])
def test_texts_are_a_row_each(texts: Scorer, rows: Any) -> None:
    assert texts.score({"data": rows, "method": "predict"}).json == [1, 0]
    assert texts.score({"input_data": {"columns": ["text"], "data": [["good film"]]}}).json == [1]
    assert "data[0]" in texts.refused({"data": [5]})


@pytest.fixture(scope="module")
def texts(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scorer]:
    """A model that reads texts."""
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.naive_bayes import MultinomialNB
    from sklearn.pipeline import make_pipeline

    model = make_pipeline(TfidfVectorizer(), MultinomialNB()).fit(["good film", "bad film"] * 2, [1, 0] * 2)
    folder = served_folder(tmp_path_factory.mktemp("texts"), model="model.pkl", allow_pickle=True)
    save(model, folder / "model.pkl")
    with scoring(folder) as scorer:
        yield scorer.healthy()
