"""What isn't as the model takes it is a 400 that names the field, the value and the rule."""

import json
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("sklearn")
pytest.importorskip("skops")

from scoring_processes import KEYS, Scorer, save, scoring, served_folder
from sklearn.datasets import load_diabetes
from sklearn.linear_model import Ridge

FRAME, TARGET = load_diabetes(return_X_y=True, as_frame=True)
NAMES = list(FRAME.columns)
ROW = [0.0] * 10
NAN = float("nan")
MAX_BODY = 1_000_000


@pytest.fixture(scope="module")
def scorer(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scorer]:
    folder = served_folder(tmp_path_factory.mktemp("named"), max_body_bytes=MAX_BODY)
    save(Ridge().fit(FRAME, TARGET), folder / "model.skops")
    with scoring(folder) as running:
        yield running.healthy()


@pytest.fixture(scope="module", params=["named", "mixed"])
def named(request: pytest.FixtureRequest, scorer: Scorer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scorer]:
    """A model with names that is given arrays, and one that must be given a DataFrame."""
    if request.param == "named":
        yield scorer
        return
    from sklearn.compose import ColumnTransformer
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    model = make_pipeline(ColumnTransformer([("scaled", StandardScaler(), NAMES)]), Ridge()).fit(FRAME, TARGET)
    folder = served_folder(tmp_path_factory.mktemp("mixed"))
    save(model, folder / "model.skops")
    with scoring(folder) as running:
        yield running.healthy()


@pytest.mark.parametrize(
    ("body", "parts"),
    [
        ({"data": [[1, 2, 3]]}, ["data[0]", "[1, 2, 3]", "10"]),
        ({"data": [ROW, ROW[1:]]}, ["data[1]", "10"]),
        ({"data": [[*ROW[:-1], "x"]]}, ["'x'", "s6"]),
        ({"data": [[*ROW[:-1], None]]}, ["None", "s6", "missing values"]),
        ({"data": [[*ROW[:-1], NAN]]}, ["nan", "s6", "missing"]),
        ({"data": [[*ROW[:-1], 1e999]]}, ["inf", "s6"]),
        ({"data": []}, ["data", "at least one row"]),
        ({"data": ROW}, ["data[0]", "list"]),
        ({"data": 5}, ["data", "5", "list of rows"]),
        ({"input_data": {"columns": NAMES[1:], "data": [ROW[1:]]}}, ["columns", "lacks the column 'age'"]),
        ({"input_data": {"columns": ["Age", *NAMES[1:]], "data": [ROW]}}, ["'Age'", "lacks the column 'age'"]),
        ({"input_data": {"columns": NAMES, "data": [ROW[1:]]}}, ["data[0]", "10"]),
        ({"input_data": {name: [0.0] for name in NAMES[1:]}}, ["input_data", "lacks the column 'age'"]),
        ({"input_data": {name: [0.0] * (2 if name == "s6" else 1) for name in NAMES}}, ["s6", "as many values"]),
        ({"dataframe_records": [dict.fromkeys(NAMES, 0), {"age": 1}]}, ["[1]", "lacks the column 'sex'"]),
        ({"dataframe_split": {"columns": NAMES}}, ["dataframe_split", "lacks 'data'"]),
        ({"dataframe_split": [ROW]}, ["dataframe_split", "columns"]),
        ({"dataframe_records": {"a": 1}}, ["dataframe_records", "list of objects"]),
    ],
)
def test_a_value_that_the_model_cant_take_is_named(named: Scorer, body: Any, parts: list[str]) -> None:
    said = named.refused(body)
    for part in parts:
        assert part in said


@pytest.mark.parametrize(
    ("body", "parts"),
    [
        ({"data": [ROW], "method": "fit"}, ["method", "'fit'", "predict"]),
        ({"data": [ROW], "methd": "predict"}, ["'methd'", "method and params"]),
        ({"data": [ROW], "method": 3}, ["method", "3", "text"]),
        ({"data": [ROW], "params": {"alpha": 1}}, ["params.alpha", "takes none"]),
        ({"data": [ROW], "inputs": [ROW]}, ["'data' and 'inputs'"]),
        ({"rows": [ROW]}, ["'rows'", "dataframe_split"]),
        ([ROW], ["JSON object"]),
        (b"", ["empty"]),
        (b'{"data": [[1, 2', ["could not be decoded as JSON"]),
        (b"\xff\xfe", ["could not be decoded as JSON"]),
        (b'{"data": ' + b"[" * 100_000, ["body"]),
    ],
)
def test_a_body_that_asks_for_nothing_that_there_is_says_so(scorer: Scorer, body: Any, parts: list[str]) -> None:
    said = scorer.refused(body)
    for part in parts:
        assert part in said


@pytest.mark.parametrize(
    ("change", "parts"),
    [
        ({"shape": [1, 9]}, ["shape", "9 values", "10"]),
        ({"datatype": "FP128"}, ["datatype", "'FP128'", "FP64"]),
        ({"data": ["x"] * 10}, ["data", "FP64"]),
        ({"shape": "all"}, ["shape", "'all'"]),
    ],
)
def test_a_tensor_half_right_is_named(scorer: Scorer, change: Any, parts: list[str]) -> None:
    tensor = {"name": "x", "shape": [1, 10], "datatype": "FP64", "data": ROW}
    said = scorer.refused({"inputs": [{**tensor, **change}]}, path="/v2/models/diabetes_model/infer")
    for part in parts:
        assert part in said
    lacking = {name: value for name, value in tensor.items() if name != "data"}
    assert "lacks 'data'" in scorer.refused({"inputs": [lacking]}, path="/v2/models/diabetes_model/infer")


def test_types_of_a_signature_are_checked_column_by_column(serve: Any) -> None:
    import pandas
    from sklearn.compose import ColumnTransformer
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import OneHotEncoder

    frame = pandas.DataFrame({"rooms": [1, 2, 3], "town": ["a", "b", "a"], "price": [1.0, 2.0, 3.0]})
    encoder = ColumnTransformer([("town", OneHotEncoder(), ["town"])], remainder="passthrough")
    model = make_pipeline(encoder, Ridge()).fit(frame, [1, 2, 3])
    columns = [("rooms", "long"), ("town", "string"), ("price", "double")]
    said = json.dumps([{"name": name, "type": kind, "required": True} for name, kind in columns])
    scorer = serve(model, signature={"inputs": said}).healthy()
    row = {"rooms": 2, "town": "b", "price": 1}
    expected = model.predict(pandas.DataFrame([row])).tolist()
    assert scorer.score({"dataframe_records": [row]}).json == {"predictions": expected}
    assert "must be a whole number" in scorer.refused({"dataframe_records": [{**row, "rooms": 2.5}]})
    assert "must be a text" in scorer.refused({"dataframe_records": [{**row, "town": 5}]})
    assert "[1].price" in scorer.refused({"dataframe_records": [row, {**row, "price": "5"}]})


def test_missing_values_reach_a_model_that_takes_them(serve: Any) -> None:
    from sklearn.impute import SimpleImputer
    from sklearn.pipeline import make_pipeline

    model = make_pipeline(SimpleImputer(), Ridge()).fit(FRAME.to_numpy(), TARGET)
    scorer = serve(model).healthy()
    expected = model.predict([[*ROW[:-1], NAN]]).tolist()
    assert scorer.score({"data": [[*ROW[:-1], None]]}).json == expected
    assert scorer.score({"data": [[*ROW[:-1], NAN]]}).json == expected
    assert "inf" in scorer.refused({"data": [[*ROW[:-1], float("inf")]]})


@pytest.mark.parametrize(
    "headers",
    [
        {"Content-Type": "text/html"},
        {"Content-Type": "application/x-www-form-urlencoded"},
        {"Content-Encoding": "gzip"},
    ],
)
def test_a_body_of_another_kind_is_a_415_that_names_it(scorer: Scorer, headers: dict[str, str]) -> None:
    got = scorer.score({"data": [ROW]}, headers=headers)
    assert got.status == 415
    assert next(iter(headers.values())) in got.json["message"]


def test_json_with_a_charset_is_json(scorer: Scorer) -> None:
    assert scorer.score({"data": [ROW]}, headers={"Content-Type": "application/json; charset=utf-8"}).status == 200


@pytest.mark.parametrize("is_chunked", [False, True])
def test_a_body_that_is_too_large_is_refused_without_being_kept(scorer: Scorer, is_chunked: bool) -> None:
    (worker,) = scorer.workers()
    before = _peak_kb(worker)
    with socket.create_connection(("127.0.0.1", scorer.port)) as sent:
        size = 100_000_000
        how = "Transfer-Encoding: chunked" if is_chunked else f"Content-Length: {size}"
        head = f"POST /score HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {KEYS[0]}\r\n{how}\r\n\r\n"
        sent.sendall(head.encode())
        chunk = b"1" * 1_000_000
        for _ in range(size // len(chunk)):
            sent.sendall(b"%x\r\n%b\r\n" % (len(chunk), chunk) if is_chunked else chunk)
        if is_chunked:
            sent.sendall(b"0\r\n\r\n")
        answer = sent.recv(65536)
        assert answer.startswith(b"HTTP/1.1 413")
        assert str(MAX_BODY).encode() in answer
    assert _peak_kb(worker) - before < 30_000
    assert scorer.score({"data": [ROW]}).status == 200


def _peak_kb(pid: int) -> int:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM"))


def test_after_a_refusal_the_connection_takes_the_next_request(scorer: Scorer) -> None:
    connection = scorer.connection()
    for _ in range(3):
        assert scorer.score({"data": [[1]]}, connection=connection).status == 400
        assert scorer.score({"data": [ROW]}, connection=connection).status == 200
    connection.close()
