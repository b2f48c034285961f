"""An ONNX model is served as its file is: called directly, with its own names, types and shapes checked first."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

from onnx import TensorProto, helper, numpy_helper
from scoring_processes import Scorer, scoring, served_folder

FLOAT, INT64, STRING = TensorProto.FLOAT, TensorProto.INT64, TensorProto.STRING
ONNX = {"framework": "Onnx", "model": "model.onnx"}


def tensor(name: str, kind: int, *shape: Any) -> Any:
    return helper.make_tensor_value_info(name, kind, shape)


def graph(nodes: Any, inputs: Any, outputs: Any, weights: Any = ()) -> Any:
    made = helper.make_graph(nodes, "graph", inputs, outputs, weights)
    return helper.make_model(made, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def doubles() -> Any:
    """y = 2x, for rows of three numbers."""
    two = numpy_helper.from_array(np.array([2.0], np.float32), "two")
    node = helper.make_node("Mul", ["x", "two"], ["y"])
    return graph([node], [tensor("x", FLOAT, None, 3)], [tensor("y", FLOAT, None, 3)], [two])


@pytest.fixture
def serve_onnx(serve: Any, tmp_path: Path) -> Any:
    """Serve a graph, or files that stand in the served folder already."""

    def start(model: Any = None, /, **deployment: Any) -> Scorer:
        folder = tmp_path / "served-0"
        folder.mkdir(exist_ok=True)
        if model is not None:
            (folder / "model.onnx").write_bytes(model.SerializeToString())
        return serve(**{**ONNX, **deployment})

    return start


@pytest.fixture(scope="module")
def ridge(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Scorer, Any, Any]]:
    """The diabetes model, its first rows, and what ONNX Runtime itself predicts."""
    pytest.importorskip("skl2onnx")
    import onnxruntime
    from skl2onnx import to_onnx
    from sklearn.datasets import load_diabetes
    from sklearn.linear_model import Ridge

    data, target = load_diabetes(return_X_y=True)
    folder = served_folder(tmp_path_factory.mktemp("ridge"), **ONNX)
    file = folder / "model.onnx"
    file.write_bytes(to_onnx(Ridge().fit(data, target), data[:1].astype("float32")).SerializeToString())
    rows = data[:2].astype("float32")
    expected = onnxruntime.InferenceSession(str(file), providers=["CPUExecutionProvider"]).run(None, {"X": rows})[0]
    with scoring(folder) as scorer:
        yield scorer.healthy(), rows.tolist(), expected.tolist()


def test_one_output_is_answered_alone_and_by_its_name_where_the_format_has_names(ridge: Any) -> None:
    scorer, rows, expected = ridge
    assert scorer.score({"data": rows}).json == expected
    assert scorer.score({"data": rows, "method": "predict"}).json == expected
    assert scorer.score({"input_data": {"columns": list(range(10)), "data": rows}}).json == expected
    assert scorer.score({"inputs": {"X": rows}}).json == {"predictions": {"variable": expected}}
    flat = [{"variable": row[0]} for row in expected]  # as MLflow's onnx flavour answers a table
    split = {"columns": list("abcdefghij"), "data": rows}
    assert scorer.ask("/invocations", {"dataframe_split": split}).json == {"predictions": flat}
    assert scorer.ask("/score:predict", {"instances": rows}).json == {"predictions": expected}


def test_kserve_is_told_the_graphs_own_names_and_types(ridge: Any) -> None:
    scorer, rows, expected = ridge
    about = scorer.ask("/v2/models/diabetes_model").json
    assert about["inputs"] == [{"name": "X", "datatype": "FP32", "shape": [-1, 10]}]
    assert about["outputs"] == [{"name": "variable", "datatype": "FP32", "shape": [-1, 1]}]
    sent = {"name": "X", "shape": [2, 10], "datatype": "FP32", "data": [value for row in rows for value in row]}
    (output,) = scorer.ask("/v2/models/diabetes_model/infer", {"inputs": [sent]}).json["outputs"]
    values = [row[0] for row in expected]
    assert output == {"name": "variable", "shape": [2, 1], "datatype": "FP32", "data": values}


@pytest.mark.parametrize(
    ("row", "parts"),
    [
        ([0.0] * 9, ["data[0]", "10 values", "9"]),
        (["x", *[0.0] * 9], ["data[0][0]", "'x'", "number"]),
        ([1e300, *[0.0] * 9], ["data[0][0]", "1e+300", "float32 has room for"]),
        ([None, *[0.0] * 9], ["data[0][0]", "missing values"]),
        ([float("nan"), *[0.0] * 9], ["data[0][0]", "nan", "missing values"]),
        ([float("inf"), *[0.0] * 9], ["data[0][0]", "inf", "no infinity"]),
    ],
)
def test_a_value_that_the_graph_cant_take_is_named(ridge: Any, row: Any, parts: list[str]) -> None:
    said = ridge[0].refused({"data": [row]})
    for part in parts:
        assert part in said


def test_a_missing_value_reaches_a_graph_that_answers_it(serve_onnx: Any) -> None:
    node = helper.make_node("IsNaN", ["x"], ["missing"])
    model = graph([node], [tensor("x", FLOAT, None, 2)], [tensor("missing", TensorProto.BOOL, None, 2)])
    assert serve_onnx(model).healthy().score({"data": [[1, None]]}).json == [[False, True]]


@pytest.fixture(scope="module")
def iris(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Scorer, Any, Any]]:
    """A classifier of skl2onnx's, whose second output is a list of objects; with the names of a signature."""
    pytest.importorskip("skl2onnx")
    from skl2onnx import to_onnx
    from sklearn.datasets import load_iris
    from sklearn.linear_model import LogisticRegression

    data, kinds = load_iris(return_X_y=True)
    model = LogisticRegression(max_iter=1000).fit(data, kinds)
    columns = [{"name": name, "type": "double"} for name in "abcd"]
    folder = served_folder(tmp_path_factory.mktemp("iris"), **ONNX, signature={"inputs": json.dumps(columns)})
    (folder / "model.onnx").write_bytes(to_onnx(model, data[:1].astype("float32")).SerializeToString())
    with scoring(folder) as scorer:
        yield scorer.healthy(), data[:2].tolist(), model.predict_proba(data[:2])


def test_several_outputs_are_answered_by_name_and_each_is_a_method(iris: Any) -> None:
    scorer, rows, expected = iris
    both = scorer.score({"data": rows}).json
    assert both["output_label"] == [0, 0]
    assert [list(row) for row in both["output_probability"]] == [["0", "1", "2"]] * 2
    assert np.allclose([list(row.values()) for row in both["output_probability"]], expected, atol=1e-6)
    assert scorer.score({"data": rows, "method": "output_label"}).json == [0, 0]
    by_row = scorer.ask("/score:predict", {"instances": rows}).json["predictions"]
    assert by_row == [{"output_label": 0, "output_probability": row} for row in both["output_probability"]]
    said = scorer.refused({"data": rows, "method": "predict_proba"})
    assert "predict, output_label, output_probability" in said


def test_kserve_gets_a_list_of_objects_as_a_tensor(iris: Any) -> None:
    scorer, rows, expected = iris
    sent = {"name": "X", "shape": [2, 4], "datatype": "FP64", "data": rows}
    asked = {"inputs": [sent], "outputs": [{"name": "output_probability"}]}
    (output,) = scorer.ask("/v2/models/diabetes_model/infer", asked).json["outputs"]
    assert (output["name"], output["shape"]) == ("output_probability", [2, 3])
    assert np.allclose(output["data"], expected.ravel(), atol=1e-6)


def test_a_signatures_columns_come_in_any_order(iris: Any) -> None:
    scorer, rows, _ = iris
    given = {"columns": ["d", "c", "b", "a"], "data": [row[::-1] for row in rows]}
    ordered = {"columns": ["a", "b", "c", "d"], "data": rows}
    answers = [scorer.score({"input_data": table}).json["output_probability"] for table in (given, ordered)]
    assert answers[0] == answers[1]
    assert "lacks the column 'a'" in scorer.refused({"input_data": {"columns": list("xbcd"), "data": rows}})


def test_micro_batches_take_outputs_apart_again(serve_onnx: Any) -> None:
    import threading

    scorer = serve_onnx(doubles(), max_batch_size=16, max_latency_ms=20).healthy()
    answers: dict[int, Any] = {}
    threads = [
        threading.Thread(target=lambda n=n: answers.update({n: scorer.score({"data": [[n, 0, 1]]}).json}))
        for n in range(12)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers == {n: [[2.0 * n, 0.0, 2.0]] for n in range(12)}
    batches = scorer.ask("/metrics").body.decode()
    assert 'amlstore_endpoint_batches_total{endpoint="diabetes",deployment="1"} 0' not in batches


def two_columns() -> Any:
    """total = number × 2 and the town as it came: columns of two types, as skl2onnx makes them of a DataFrame."""
    nodes = [
        helper.make_node("Add", ["number", "number"], ["total"]),
        helper.make_node("Identity", ["town"], ["place"]),
    ]
    inputs = [tensor("number", INT64, None, 1), tensor("town", STRING, None, 1)]
    return graph(nodes, inputs, [tensor("total", INT64, None, 1), tensor("place", STRING, None, 1)])


def test_inputs_of_one_value_a_row_are_the_columns_of_a_table(serve_onnx: Any) -> None:
    scorer = serve_onnx(two_columns()).healthy()
    expected = {"total": [[4], [6]], "place": [["Bern"], ["Genf"]]}
    rows = [["Bern", 2], ["Genf", 3]]
    records = [{"town": town, "number": number} for town, number in rows]
    assert scorer.score({"input_data": {"columns": ["town", "number"], "data": rows}}).json == expected
    assert scorer.score({"data": records}).json == expected
    assert scorer.score({"data": [[2, "Bern"], [3, "Genf"]]}).json == expected
    assert scorer.score({"data": {"town": ["Bern", "Genf"], "number": [2, 3]}}).json == expected
    flat = [{"total": 4, "place": "Bern"}, {"total": 6, "place": "Genf"}]
    assert scorer.score({"dataframe_records": records}).json == {"predictions": flat}
    assert "lacks the tensor 'number'" in scorer.refused({"data": [{"town": "Bern"}]})
    assert "must be a whole number" in scorer.refused({"data": [{"town": "Bern", "number": 2.5}]})
    assert "must be texts" in scorer.refused({"data": [{"town": 5, "number": 2}]})
    assert "row must be 1" in scorer.refused({"data": {"number": [1], "town": ["Bern", "Genf"]}})
    assert "at least one row" in scorer.refused({"data": {"number": [], "town": []}})


def test_whole_numbers_have_the_range_of_the_graphs_type(serve_onnx: Any) -> None:
    cast = helper.make_node("Cast", ["x"], ["y"], to=INT64)
    scorer = serve_onnx(graph([cast], [tensor("x", TensorProto.UINT8, None, 2)], [tensor("y", INT64, None, 2)]))
    assert scorer.healthy().score({"data": [[0, 255]]}).json == [[0, 255]]
    assert "256" in (said := scorer.refused({"data": [[0, 256]]}))
    assert "from 0 to 255" in said
    assert "must be a whole number" in scorer.refused({"data": [[0, 1.5]]})


def test_axes_with_one_name_are_equally_long_and_fixed_ones_as_they_are(serve_onnx: Any) -> None:
    inputs = [tensor("a", FLOAT, "batch", 2, "length"), tensor("b", FLOAT, "batch", 2, "length")]
    model = graph([helper.make_node("Add", ["a", "b"], ["y"])], inputs, [tensor("y", FLOAT, "batch", 2, "length")])
    scorer = serve_onnx(model).healthy()
    one, two = [[[1.0], [2.0]]], [[[1.0, 1.0], [2.0, 2.0]]]
    assert scorer.score({"inputs": {"a": one, "b": one}}).json == {"predictions": {"y": [[[2.0], [4.0]]]}}
    assert "length must be 1, as 'a' has it" in scorer.refused({"inputs": {"a": one, "b": two}})
    assert "['any', 2, 'any']" in scorer.refused({"inputs": {"a": [[[1.0]]], "b": one}})
    assert "lists that are equally long" in scorer.refused({"inputs": {"a": [[[1.0], [2.0, 3.0]]], "b": one}})


def test_what_only_the_graph_can_judge_is_still_a_400(serve_onnx: Any) -> None:
    table = numpy_helper.from_array(np.array([5.0, 6.0], np.float32), "table")
    node = helper.make_node("Gather", ["table", "place"], ["y"])
    model = graph([node], [tensor("place", INT64, None)], [tensor("y", FLOAT, None)], [table])
    scorer = serve_onnx(model).healthy()
    assert scorer.score({"data": [1, 0]}).json == [6.0, 5.0]
    assert "out of" in scorer.refused({"data": [7]})


def external(location: str) -> Any:
    """`doubles` with its weight in another file."""
    model = doubles()
    (weight,) = model.graph.initializer
    weight.ClearField("raw_data")
    weight.data_location = TensorProto.EXTERNAL
    weight.external_data.add(key="location", value=location)
    return model


def test_weights_may_lie_beside_the_graph_in_its_folder(serve_onnx: Any, tmp_path: Path) -> None:
    folder = tmp_path / "served-0" / "model"
    folder.mkdir(parents=True)
    (folder / "doubles.onnx").write_bytes(external("weights.bin").SerializeToString())
    (folder / "weights.bin").write_bytes(np.array([2.0], np.float32).tobytes())
    scorer = serve_onnx(model="model").healthy()
    assert scorer.score({"data": [[1, 2, 3]]}).json == [[2.0, 4.0, 6.0]]


@pytest.mark.parametrize("is_nested", [False, True])
@pytest.mark.parametrize(
    ("location", "code"),
    [
        ("../keys.json", "FileOutside"),
        ("/etc/passwd", "FileOutside"),
        ("link.bin", "FileOutside"),
        ("*/_ORT_MEM_ADDR_/*", "FileOutside"),
        ("gone.bin", "FileMissing"),
    ],
)
def test_weights_elsewhere_are_never_read(
    serve: Any, tmp_path: Path, location: str, code: str, is_nested: bool
) -> None:
    folder = tmp_path / "served-0" / "model"
    folder.mkdir(parents=True)
    model = external(location)
    if is_nested:  # in a branch, whose graph is inside of a node
        nodes = [helper.make_node("Mul", ["x", "two"], ["z"])]
        branch = helper.make_graph(nodes, "branch", [], [tensor("z", FLOAT, None, 3)])
        branch.initializer.extend(model.graph.initializer)
        del model.graph.initializer[:], model.graph.node[:]
        always = numpy_helper.from_array(np.array(True), "always")
        model.graph.initializer.append(always)
        model.graph.node.append(helper.make_node("If", ["always"], ["y"], then_branch=branch, else_branch=branch))
    (folder / "model.onnx").write_bytes(model.SerializeToString())
    (folder / "link.bin").symlink_to("/etc/passwd")
    event = serve(framework="Onnx", model="model").failed()
    assert event["code"] == code
    assert location in event["message"]


def test_a_file_alone_has_its_weights_in_it(serve_onnx: Any, tmp_path: Path) -> None:
    (tmp_path / "served-0").mkdir()
    (tmp_path / "served-0" / "weights.bin").write_bytes(np.array([2.0], np.float32).tobytes())
    event = serve_onnx(external("weights.bin")).failed()
    assert "register the folder" in event["message"]


@pytest.mark.parametrize(
    ("content", "code"),
    [(b"", "FileDamaged"), (b"not a graph", "FileDamaged"), (None, "FileDamaged"), (b"\x08\x08", "FileDamaged")],
)
def test_a_file_that_is_damaged_is_refused_before_it_is_opened(
    serve_onnx: Any, tmp_path: Path, content: bytes | None, code: str
) -> None:
    folder = tmp_path / "served-0"
    folder.mkdir()
    whole = doubles().SerializeToString()
    (folder / "model.onnx").write_bytes(whole[: len(whole) // 2] if content is None else content)
    event = serve_onnx().failed()
    assert event["code"] == code
    assert "model.onnx" in event["message"]


def test_an_operator_that_onnx_runtime_doesnt_have_fails_with_its_name(serve_onnx: Any) -> None:
    node = helper.make_node("Frobnicate", ["x"], ["y"], domain="com.example")
    model = graph([node], [tensor("x", FLOAT, None, 3)], [tensor("y", FLOAT, None, 3)])
    model.opset_import.append(helper.make_opsetid("com.example", 1))
    event = serve_onnx(model).failed()
    assert (event["code"], "Frobnicate" in event["message"]) == ("LoadFailed", True)


def test_an_input_that_no_request_can_bring_fails_with_its_type(serve_onnx: Any) -> None:
    sequence = helper.make_tensor_sequence_value_info("xs", FLOAT, [None])
    node = helper.make_node("SequenceLength", ["xs"], ["n"])
    event = serve_onnx(graph([node], [sequence], [tensor("n", INT64)])).failed()
    assert (event["code"], "seq(tensor(float))" in event["message"]) == ("InputNotSupported", True)


@pytest.mark.parametrize("framework", ["Onnx", "MLflow"])
def test_mlflows_folder_is_served_without_mlflow(serve: Any, tmp_path: Path, framework: str) -> None:
    mlflow_onnx = pytest.importorskip("mlflow.onnx")
    mlflow_onnx.save_model(doubles(), tmp_path / "served-0" / "model")
    scorer = serve(framework=framework, model="model").healthy()
    assert scorer.score({"data": [[1, 2, 3]]}).json == [[2.0, 4.0, 6.0]]
    (worker,) = scorer.workers()
    loaded = Path(f"/proc/{worker}/maps").read_text()
    assert "onnxruntime" in loaded
    assert not [name for name in ("pandas", "sklearn", "pyarrow") if f"/{name}/" in loaded]


@pytest.mark.parametrize("data", ["../elsewhere", "../elsewhere/model.onnx", "gone.onnx"])
def test_mlflows_folder_is_never_left(serve: Any, tmp_path: Path, data: str) -> None:
    folder = tmp_path / "served-0" / "model"
    folder.mkdir(parents=True)
    (folder.parent / "elsewhere").mkdir()
    (folder.parent / "elsewhere" / "model.onnx").write_bytes(doubles().SerializeToString())
    (folder / "MLmodel").write_text(f"flavors: {{onnx: {{data: {data}}}}}")
    event = serve(framework="Onnx", model="model").failed()
    assert (event["code"], "isn't in its folder" in event["message"]) == ("FileMissing", True)


def test_no_thread_of_the_library_is_lost_when_workers_are_forked(ridge: Any) -> None:
    """ONNX Runtime starts one as it is imported, to report to Microsoft, unless it is told not to."""
    first = ridge[0].process.pid
    (loader,) = Path(f"/proc/{first}/task/{first}/children").read_text().split()
    assert "onnxruntime_pybind11" in Path(f"/proc/{loader}/maps").read_text()
    assert len(list(Path(f"/proc/{loader}/task").iterdir())) == 1
