"""A SavedModel answers as TensorFlow Serving answers for it; its methods are its signatures."""

import base64
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from scoring_processes import Scorer, scoring, served_folder

pytestmark = pytest.mark.needs("tensorflow")
TENSORFLOW = {"framework": "TensorFlow", "model": "model"}
PREDICT = "/v1/models/diabetes_model:predict"
ROWS = [[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]]
PNG = b"\x89PNG\xff"


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One model with several signatures: of one tensor, of two, of texts and bytes, and one that looks up."""
    import tensorflow as tf

    class Model(tf.Module):  # type: ignore[misc,name-defined]
        def __init__(self) -> None:
            super().__init__()
            self.weights = tf.Variable([[1.0], [10.0], [100.0]])
            self.table = tf.Variable([5.0, 6.0])

        @tf.function(input_signature=[tf.TensorSpec([None, 3], tf.float32, name="rows")])
        def predict(self, rows: Any) -> Any:
            return {"score": rows @ self.weights}

        @tf.function(
            input_signature=[
                tf.TensorSpec([None], tf.int64, name="number"),
                tf.TensorSpec([None], tf.string, name="town"),
            ]
        )
        def pair(self, number: Any, town: Any) -> Any:
            return {"double": number * 2, "upper": tf.strings.upper(town)}

        @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="image_bytes")])
        def length(self, image_bytes: Any) -> Any:
            return {"size": tf.strings.length(image_bytes), "copy_bytes": image_bytes, "copy": image_bytes}

        @tf.function(input_signature=[tf.TensorSpec([None], tf.int32, name="place")])
        def look_up(self, place: Any) -> Any:
            return {"found": tf.gather(self.table, place)}

    folder = tmp_path_factory.mktemp("saved") / "model"
    model = Model()
    signatures = {"serving_default": model.predict, "pair": model.pair, "length": model.length}
    tf.saved_model.save(model, str(folder), signatures={**signatures, "look_up": model.look_up})
    return folder


@pytest.fixture(scope="module")
def scorer(saved: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scorer]:
    folder = served_folder(tmp_path_factory.mktemp("served"), **TENSORFLOW)
    (folder / "model").symlink_to(saved)
    with scoring(folder) as running:
        yield running.healthy()


@pytest.mark.parametrize("path", [PREDICT, "/score", "/score:predict", "/v1/models/diabetes_model/versions/3:predict"])
def test_rows_are_answered_by_row_and_columns_by_column(scorer: Scorer, path: str) -> None:
    assert scorer.ask(path, {"instances": ROWS}).json == {"predictions": [[321.0], [654.0]]}
    assert scorer.ask(path, {"inputs": ROWS}).json == {"outputs": [[321.0], [654.0]]}
    assert scorer.ask(path, {"inputs": {"rows": ROWS}}).json == {"outputs": [[321.0], [654.0]]}
    assert scorer.ask(path, {"signature_name": "serving_default", "instances": ROWS}).status == 200


def test_other_formats_answer_too(scorer: Scorer) -> None:
    assert scorer.score({"data": ROWS}).json == [[321.0], [654.0]]
    table = {"columns": ["a", "b", "c"], "data": ROWS}
    assert scorer.score({"input_data": table}).json == [[321.0], [654.0]]
    sent = {"name": "rows", "shape": [2, 3], "datatype": "FP32", "data": ROWS}
    (output,) = scorer.ask("/v2/models/diabetes_model/infer", {"inputs": [sent]}).json["outputs"]
    assert output == {"name": "score", "shape": [2, 1], "datatype": "FP32", "data": [321.0, 654.0]}
    about = scorer.ask("/v2/models/diabetes_model").json
    assert about["inputs"] == [{"name": "rows", "datatype": "FP32", "shape": [-1, 3]}]
    assert about["outputs"] == [{"name": "score", "datatype": "FP32", "shape": [-1, 1]}]


def test_a_signature_is_named_and_takes_what_is_its_own(scorer: Scorer) -> None:
    instances = [{"number": 2, "town": "Bern"}, {"number": 3, "town": "Genf"}]
    expected = [{"double": 4, "upper": "BERN"}, {"double": 6, "upper": "GENF"}]
    asked = {"signature_name": "pair", "instances": instances}
    assert scorer.ask(PREDICT, asked).json == {"predictions": expected}
    columns = {"signature_name": "pair", "inputs": {"number": [2], "town": ["Bern"]}}
    assert scorer.ask(PREDICT, columns).json == {"outputs": {"double": [4], "upper": ["BERN"]}}
    said = scorer.refused({"signature_name": "tune", "instances": ROWS}, path=PREDICT)
    assert "serving_default, length, look_up, pair" in said


@pytest.mark.parametrize(
    ("field", "values"),
    [
        ("instances", [{"b64": base64.b64encode(PNG).decode()}]),
        ("instances", [{"image_bytes": {"b64": base64.b64encode(PNG).decode()}}]),
        ("inputs", {"image_bytes": [{"b64": base64.b64encode(PNG).decode()}]}),
        ("inputs", [{"b64": base64.b64encode(PNG).decode()}]),
    ],
)
def test_bytes_are_base64_in_both_directions(scorer: Scorer, field: str, values: Any) -> None:
    answer = scorer.ask(PREDICT, {"signature_name": "length", field: values}).json
    sent = {"b64": base64.b64encode(PNG).decode()}
    row = {"size": len(PNG), "copy_bytes": sent, "copy": sent}  # `copy` isn't UTF-8
    expected = {"predictions": [row]} if field == "instances" else {"outputs": {n: [v] for n, v in row.items()}}
    assert answer == expected


def test_a_text_is_a_text_but_where_the_outputs_name_says_bytes(scorer: Scorer) -> None:
    asked = {"signature_name": "length", "instances": ["abc"]}
    row = {"size": 3, "copy_bytes": {"b64": base64.b64encode(b"abc").decode()}, "copy": "abc"}
    assert scorer.ask(PREDICT, asked).json == {"predictions": [row]}


@pytest.mark.parametrize(
    ("body", "parts"),
    [
        ({"instances": [[1.0, 2.0]]}, ["instances[0]", "3 values"]),
        ({"instances": [[1.0, 2.0, "x"]]}, ["'x'", "must be a number"]),
        ({"instances": [[1.0, 2.0, None]]}, ["None", "missing values"]),
        ({"instances": []}, ["at least one row"]),
        ({"instances": 5}, ["instances", "5"]),
        ({"signature_name": "pair", "instances": [{"number": 2}]}, ["lacks the tensor 'town'"]),
        ({"signature_name": "pair", "instances": [{"number": 2.5, "town": "a"}]}, ["int64"]),
        ({"signature_name": "pair", "inputs": {"number": [1], "town": ["a", "b"]}}, ["row must be 1"]),
        ({"signature_name": "pair", "inputs": {"number": [1], "town": [5]}}, ["must be texts"]),
        ({"signature_name": "length", "instances": [{"b64": "?"}]}, ["b64", "base64"]),
        ({"signature_name": "look_up", "instances": [7]}, ["isn't what the model takes", "7 is not in [0, 2)"]),
        ({"signature_name": "look_up", "instances": [2**40]}, ["2147483647", "int32"]),
    ],
)
def test_what_a_signature_cant_take_is_named(scorer: Scorer, body: Any, parts: list[str]) -> None:
    said = scorer.refused(body, path=PREDICT)
    for part in parts:
        assert part in said


@pytest.mark.parametrize("verb", ["classify", "regress"])
def test_examples_are_refused_with_the_way_out(scorer: Scorer, verb: str) -> None:
    said = scorer.refused({"examples": []}, 501, path=f"/v1/models/diabetes_model:{verb}")
    assert ":predict and signature_name" in said


def test_tensorflow_is_in_workers_alone(scorer: Scorer) -> None:
    """Its threads don't survive a fork."""
    first = scorer.process.pid
    (loader,) = Path(f"/proc/{first}/task/{first}/children").read_text().split()
    assert "libtensorflow" not in Path(f"/proc/{loader}/maps").read_text()
    (worker,) = scorer.workers()
    assert "libtensorflow" in Path(f"/proc/{worker}/maps").read_text()


def test_keras_models_are_exported_and_served(serve: Any, tmp_path: Path) -> None:
    import keras

    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1, kernel_initializer="ones")])
    model.export(tmp_path / "served-0" / "model", verbose=False)
    scorer = serve(**TENSORFLOW).healthy()
    assert scorer.ask("/score:predict", {"instances": [[1.0, 2.0]]}).json == {"predictions": [[3.0]]}


def test_mlflows_folder_is_served(serve: Any, tmp_path: Path) -> None:
    mlflow_tensorflow = pytest.importorskip("mlflow.tensorflow")
    import tensorflow as tf

    class Doubles(tf.Module):  # type: ignore[misc,name-defined]
        @tf.function(input_signature=[tf.TensorSpec([None, 3], tf.float32, name="rows")])
        def run(self, rows: Any) -> Any:
            return {"score": rows * 2}

    model = Doubles()
    signatures = {"signatures": {"serving_default": model.run}}
    mlflow_tensorflow.save_model(model, tmp_path / "served-0" / "model", saved_model_kwargs=signatures)
    scorer = serve(**TENSORFLOW).healthy()
    expected = {"predictions": {"score": [[2.0, 4.0, 6.0], [8.0, 10.0, 12.0]]}}
    assert scorer.ask("/invocations", {"inputs": ROWS}).json == expected


def test_operators_that_reach_outside_are_refused_before_they_run(serve: Any, tmp_path: Path) -> None:
    import tensorflow as tf

    class Writes(tf.Module):  # type: ignore[misc,name-defined]
        @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="text")])
        def run(self, text: Any) -> Any:
            tf.io.write_file(str(tmp_path / "written"), text[0])
            return {"text": text}

    model = Writes()
    for number in range(2):
        folder = tmp_path / f"served-{number}" / "model"
        tf.saved_model.save(model, str(folder), signatures={"serving_default": model.run})
    event = serve(**TENSORFLOW).failed()
    assert event["code"] == "TypesNotTrusted"
    assert "WriteFile" in event["message"]
    assert "--allow-pickle" in event["message"]
    assert serve(**TENSORFLOW, allow_pickle=True).healthy().score({"instances": ["x"]}).status == 200


@pytest.mark.parametrize(
    ("content", "code", "said"),
    [
        (None, "FileMissing", "saved_model.pb"),
        (b"\x08\x01not a graph", "LoadFailed", "can't load"),
    ],
)
def test_a_folder_without_a_model_fails_with_its_reason(
    serve: Any, tmp_path: Path, content: bytes | None, code: str, said: str
) -> None:
    folder = tmp_path / "served-0" / "model"
    folder.mkdir(parents=True)
    if content is not None:
        (folder / "saved_model.pb").write_bytes(content)
    event = serve(**TENSORFLOW).failed()
    assert (event["code"], said in event["message"]) == (code, True)


def test_a_model_without_signatures_fails_with_the_way_out(serve: Any, tmp_path: Path) -> None:
    import tensorflow as tf

    tf.saved_model.save(tf.Module(), str(tmp_path / "served-0" / "model"))
    event = serve(**TENSORFLOW).failed()
    assert (event["code"], "has no signatures" in event["message"]) == ("NotAModel", True)
