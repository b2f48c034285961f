"""Models: registered from a run's files or local ones, found, downloaded, and seen by MLflow."""

import io
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient
from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

from mlflow_amlstore.core import Model, Run, Workspace
from mlflow_amlstore.errors import (
    AlreadyExists,
    AmlStoreError,
    Changed,
    InvalidValue,
    LocalFileFailed,
    NotFound,
    NotSupported,
    ServiceError,
)
from mlflow_amlstore.pytest_plugin import mlflow_pointed_at

EACH_KIND = pytest.mark.parametrize("ws", ["embedded", "served"], indirect=True)

pytestmark = pytest.mark.alone


@EACH_KIND
def test_a_file_of_a_run_is_registered_with_all_that_is_said_of_it(ws: Workspace, run: Run) -> None:
    run.upload_file("outputs/model.pkl", io.BytesIO(b"model"))
    model = run.register_model(
        "diabetes",
        "outputs/model.pkl",
        tags={"alpha": 0.03},
        properties={"mse": "0.1"},
        model_framework=Model.Framework.SCIKITLEARN,
        model_framework_version="1.9",
        description="ridge",
    )
    assert (model.id, model.name, model.version, model.run_id) == ("diabetes:1", "diabetes", 1, run.id)
    again = Model(ws, "diabetes")
    assert (again.tags, again.properties, again.description) == ({"alpha": "0.03"}, {"mse": "0.1"}, "ridge")
    assert (again.model_framework, again.model_framework_version) == ("ScikitLearn", "1.9")
    assert again.url == ws.file_uri(f"{run.experiment.id}/{run.id}/artifacts/outputs/model.pkl")
    assert again.serialize()["id"] == "diabetes:1"

    assert Path(again.download("down")).read_bytes() == b"model"
    with pytest.raises(AlreadyExists, match="Give exist_ok=True"):
        again.download("down")
    again.download("down", exist_ok=True)

    seen = MlflowClient(ws.get_mlflow_tracking_uri()).get_model_version("diabetes", "1")
    assert (seen.run_id, seen.tags, seen.description) == (run.id, {"alpha": "0.03"}, "ridge")


@EACH_KIND
def test_a_folder_of_a_run_keeps_its_files_names(run: Run) -> None:
    for name in ("model/MLmodel", "model/data/weights"):
        run.upload_file(name, io.BytesIO(name.encode()))
    model = run.register_model("m", "model")
    model.download("down")
    assert Path("down/model/data/weights").read_text() == "model/data/weights"


@EACH_KIND
def test_a_model_that_is_all_files_of_a_run_comes_beside_what_is_there(run: Run) -> None:
    for name in ("MLmodel", "data/weights"):
        run.upload_file(name, io.BytesIO(name.encode()))
    model = run.register_model("m", ".")
    Path("down").mkdir()
    Path("down/mine.txt").write_text("mine")

    assert Path(model.download("down")) == Path("down")
    assert sorted(file.name for file in Path("down").rglob("*") if file.is_file()) == ["MLmodel", "mine.txt", "weights"]
    with pytest.raises(AlreadyExists, match=r"'down/MLmodel'.*Give exist_ok=True"):
        model.download("down")
    assert Path(model.download("down", exist_ok=True), "data", "weights").read_text() == "data/weights"


@EACH_KIND
def test_a_folder_that_is_there_is_no_reason_to_refuse(run: Run) -> None:
    run.upload_file("model/weights", io.BytesIO(b"weights"))
    model = run.register_model("m", "model")
    Path("down/model").mkdir(parents=True)
    assert Path(model.download("down"), "weights").read_bytes() == b"weights"


@EACH_KIND
def test_the_current_folder_is_registered_under_its_name(ws: Workspace) -> None:
    Path("weights").write_bytes(b"weights")
    name = Path.cwd().name
    model = Model.register(ws, ".", "m")
    assert model.url.endswith(f"/{name}")
    assert Path(model.download("/".join(["down", "deep"])), "weights") == Path("down/deep", name, "weights")


@EACH_KIND
def test_tags_and_properties_are_dicts_and_none_is_the_empty_text(ws: Workspace, run: Run) -> None:
    Path("a.txt").write_text("a")
    model = Model.register(ws, "a.txt", "m", tags={"stage": None, "n": 1})
    assert model.tags == {"stage": "", "n": "1"}
    for call in (
        lambda: Model.register(ws, "a.txt", "m", tags=["pdm"]),
        lambda: Model.register(ws, "a.txt", "m", properties=["pdm"]),
        lambda: model.add_tags(["pdm"]),
        lambda: model.add_properties(["pdm"]),
        lambda: run.set_tags(["pdm"]),
        lambda: run.add_properties(["pdm"]),
    ):
        with pytest.raises(InvalidValue, match=r"\['pdm'\] for (tags|properties): must be a dict of names and values"):
            call()
    assert len(Model.list(ws)) == 1


@EACH_KIND
def test_the_model_s_name_is_its_path_where_none_is_given(run: Run) -> None:
    run.upload_file("model.pkl", io.BytesIO(b"model"))
    assert run.register_model("model.pkl").url.endswith("/artifacts/model.pkl")


@EACH_KIND
def test_a_path_that_the_run_doesnt_have_is_refused(ws: Workspace, run: Run) -> None:
    with pytest.raises(NotFound, match=f"File 'model.pkl' not found. Run {run.id} has no such file or folder"):
        run.register_model("m", "model.pkl")
    with pytest.raises(NotFound, match="Model 'm' not found"):
        Model(ws, "m")


@EACH_KIND
def test_local_files_are_registered_without_a_run(ws: Workspace) -> None:
    Path("local/sub").mkdir(parents=True)
    Path("local/sub/a.txt").write_text("a")
    Path("one.txt").write_text("one")
    folder = Model.register(ws, "local", "folder")
    file = Model.register(ws, "one.txt", "file", tags={"t": "1"})
    assert (folder.run_id, file.id) == (None, "file:1")
    folder.download("down")
    file.download("down")
    assert (Path("down/local/sub/a.txt").read_text(), Path("down/one.txt").read_text()) == ("a", "one")
    with pytest.raises(InvalidValue, match="'never' for model_path"):
        Model.register(ws, "never", "m")
    Path("empty/sub").mkdir(parents=True)
    with pytest.raises(InvalidValue, match="'empty' for model_path: is a folder without files"):
        Model.register(ws, "empty", "m")


@EACH_KIND
def test_versions_are_found_by_what_is_said_of_them(ws: Workspace) -> None:
    Path("one.txt").write_text("one")
    for number in range(3):
        Model.register(ws, "one.txt", "a", tags={"n": str(number)}, properties={"p": str(number)})
    Model.register(ws, "one.txt", "it's", model_framework="Onnx")

    def found(**filter: object) -> list[str]:
        return [model.id for model in Model.list(ws, **filter)]  # type: ignore[arg-type]

    assert found() == ["a:3", "a:2", "a:1", "it's:1"]
    assert found(latest=True) == ["a:3", "it's:1"]
    assert found(name="it's") == found(model_framework="Onnx") == ["it's:1"]
    assert found(tags={"n": "1"}) == found(tags=[["n", "1"]]) == found(properties={"p": "1"}) == ["a:2"]
    assert found(tags={"n": 1}) == found(tags=["n", ["n", 1]]) == found(tags=[("n", 1)]) == ["a:2"]
    assert found(tags={"n": 1}, latest=True) == ["a:2"]
    assert found(tags=["n", ["n", 1], "never"]) == []
    assert found(tags="n") == found(tags=["n"]) == ["a:3", "a:2", "a:1"]
    assert Model(ws, "a").version == 3
    assert Model(ws, "a", version=2).id == Model(ws, id="a:2").id == "a:2"
    assert {name: model.id for name, model in ws.models.items()} == {"a": "a:3", "it's": "it's:1"}
    for wrong in ({"id": "a"}, {"name": None}):
        with pytest.raises(InvalidValue, match="model"):
            Model(ws, **wrong)  # type: ignore[arg-type]
    with pytest.raises(NotFound, match="'a:9'"):
        Model(ws, "a", version=9)


@EACH_KIND
def test_tags_can_be_changed_and_a_version_deleted(ws: Workspace) -> None:
    Path("one.txt").write_text("one")
    model = Model.register(ws, "one.txt", "a", tags={"x": "1"})
    model.add_tags({"y": "2"})
    model.remove_tags(["x", "never"])
    assert model.tags == Model(ws, "a").tags == {"y": "2"}
    model.add_tags({"kind": "tree", "k": "1"})
    model.remove_tags("kind")
    assert model.tags == {"y": "2", "k": "1"}
    model.delete()
    assert (Model.list(ws), ws.models) == ([], {})


def test_what_a_model_keeps_nothing_of_is_refused_by_its_name(ws: Workspace) -> None:
    Path("one.txt").write_text("one")
    with pytest.raises(NotSupported, match=r"Model.register with datasets is not supported"):
        Model.register(ws, "one.txt", "a", datasets=[("training", "data")], child_paths=[])
    with pytest.raises(NotSupported, match=r"Model.list with dataset_id is not supported"):
        Model.list(ws, dataset_id="d")
    assert Model.list(ws) == []


@EACH_KIND
def test_what_is_looked_for_may_be_any_text(ws: Workspace) -> None:
    Path("one.txt").write_text("one")
    tags = {"e/f: g.h": "3", "list": "x,y=z", "equal": "a=b", "empty": "", "text": 'ü & "more"'}
    properties = {"a,b": "1", "c=d": "2", "e/f~g": "3"}
    for kept, written_once in (({}, {}), (tags, properties), ({"list": "x"}, {"a": "1"})):
        Model.register(ws, "one.txt", "m", tags=kept, properties=written_once)
    for what, values in (("tags", tags), ("properties", properties)):
        for name, value in values.items():
            wanted = {what: {name: value}}
            assert [model.id for model in Model.list(ws, **wanted)] == ["m:2"]  # type: ignore[arg-type]
            assert [model.id for model in Model.list(ws, latest=True, **wanted)] == ["m:2"]  # type: ignore[arg-type]
    first = Model(ws, "m", version=1)
    first.add_tags(tags)
    assert first.tags == Model(ws, "m", version=1).tags == tags
    first.remove_tags(["e/f: g.h", "text", "never"])
    assert first.tags == {"list": "x,y=z", "equal": "a=b", "empty": ""}
    with pytest.raises(InvalidValue, match="pairs of a name and a value"):
        Model.list(ws, tags=[["a", "b", "c"]])


@EACH_KIND
def test_properties_are_written_once_and_added_to(ws: Workspace) -> None:
    Path("one.txt").write_text("one")
    model = Model.register(ws, "one.txt", "m", properties={"p": 1}, model_framework=Model.Framework.ONNX)
    model.add_properties({"q": 2, "p": 1})
    assert model.properties == Model(ws, "m").properties == {"p": "1", "q": "2"}
    with pytest.raises(Changed, match="for model version='m:1'"):
        model.add_properties({"r": "3", "p": "9"})
    assert (Model(ws, "m").properties, Model(ws, "m").model_framework) == ({"p": "1", "q": "2"}, "Onnx")


@EACH_KIND
def test_models_that_mlflow_registered_are_there(ws: Workspace, run: Run) -> None:
    client = MlflowClient(ws.get_mlflow_tracking_uri())
    run.upload_file("model/MLmodel", io.BytesIO(b"flavors: {}"))
    client.create_registered_model("by mlflow")
    source = f"{client.get_run(run.id).info.artifact_uri}/model"
    client.create_model_version("by mlflow", source, run.id, tags={"t": "1"}, description="d")

    (found,) = Model.list(ws)

    assert (found.id, found.run_id, found.tags, found.description) == ("by mlflow:1", run.id, {"t": "1"}, "d")
    assert Path(found.download("down")) == Path("down/model")
    assert Path("down/model/MLmodel").read_bytes() == b"flavors: {}"


@EACH_KIND
@pytest.mark.skipif(not hasattr(MlflowClient, "register_prompt"), reason="MLflow 2.16 has no prompts")
def test_mlflow_s_prompts_are_no_models(ws: Workspace, run: Run) -> None:
    MlflowClient(ws.get_mlflow_tracking_uri()).register_prompt("prompt", "Say {{ what }}")
    run.upload_file("model", io.BytesIO(b"model"))
    assert Model.list(ws) == []
    with pytest.raises((AlreadyExists, ServiceError), match="prompt"):
        run.register_model("prompt", "model")


@EACH_KIND
def test_a_long_list_comes_page_by_page(ws: Workspace, run: Run) -> None:
    run.upload_file("model", io.BytesIO(b"model"))
    for _ in range(257):
        run.register_model("m", "model")
    assert [model.version for model in Model.list(ws, "m")] == list(range(257, 0, -1))
    assert [model.version for model in Model.list(ws, run_id=run.id, latest=True)] == [257]


def tree_of(folder: Path) -> dict[str, str]:
    """What is in a folder: the text of each file, where each link leads, and each folder."""
    return {
        path.relative_to(folder).as_posix(): f"-> {path.readlink()}"
        if path.is_symlink()
        else path.read_text()
        if path.is_file()
        else "folder"
        for path in folder.rglob("*")
    }


@EACH_KIND
class TestWholeDownload:
    """A download gives all files of a model, or leaves everything as it was."""

    @pytest.fixture
    def model(self, ws: Workspace) -> Model:
        """A model of the files `net/a`, `net/deep/b` and `net/z`; the current folder has none of them."""
        Path("../source/net/deep").mkdir(parents=True)
        for name in ("a", "deep/b", "z"):
            Path("../source/net", name).write_text(f"new {name}")
        return Model.register(ws, "../source/net", "net")

    @pytest.fixture
    def lost(self, model: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
        """The content of `net/z`, which was moved away."""
        monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")  # a service might yet find it
        contents = [path for path in tmp_path.rglob("files/??/*") if path.is_file()]
        found = next(path for path in contents if path.read_text() == "new z")
        return found.rename(found.with_suffix(".lost"))

    @pytest.mark.parametrize("before", ["nothing", "a folder", "files"])
    def test_one_that_fails_leaves_what_was_there_and_can_be_called_again(
        self, model: Model, lost: Path, before: str
    ) -> None:
        if before != "nothing":
            Path("down/net").mkdir(parents=True)
            Path("down/mine").write_text("mine")
        if before == "files":
            Path("down/net/a").write_text("old a")
        there = tree_of(Path())
        for _ in range(2):
            with pytest.raises(AmlStoreError, match="is missing from files/"):
                model.download("down/new/../", exist_ok=before == "files")
            assert tree_of(Path()) == there
        lost.rename(lost.with_suffix(""))
        model.download("down", exist_ok=before == "files")
        assert tree_of(Path("down/net")) == {"a": "new a", "deep": "folder", "deep/b": "new deep/b", "z": "new z"}
        assert Path("down/mine").exists() == (before != "nothing")

    def test_a_path_to_a_model_of_which_a_part_is_missing_is_none_and_leaves_nothing(
        self, ws: Workspace, model: Model, lost: Path
    ) -> None:
        with pytest.raises(AmlStoreError, match="is missing from files/"):
            Model.get_model_path("net", _workspace=ws)
        assert tree_of(Path()) == {}

    @pytest.mark.parametrize("target", ["down", "down/deeper"])
    def test_a_file_in_a_folder_s_place_is_named(self, model: Model, target: str) -> None:
        Path("down").write_text("mine")
        with pytest.raises(LocalFileFailed, match=r"^down on this machine .* it is no folder.*Move it away, or give"):
            model.download(target)
        assert tree_of(Path()) == {"down": "mine"}

    @pytest.mark.parametrize("exist_ok", [False, True])
    def test_a_folder_in_a_file_s_place_is_named(self, model: Model, exist_ok: bool) -> None:
        Path("net/z").mkdir(parents=True)
        with pytest.raises(LocalFileFailed, match=r"^net/z on this machine .* it is a folder.*Move it away, or give"):
            model.download(exist_ok=exist_ok)
        assert tree_of(Path()) == {"net": "folder", "net/z": "folder"}

    def test_a_link_that_leads_nowhere_is_there(self, model: Model) -> None:
        Path("net").mkdir()
        Path("net/z").symlink_to("nowhere")
        with pytest.raises(AlreadyExists, match=r"'net/z'.*Give exist_ok=True"):
            model.download()
        assert tree_of(Path()) == {"net": "folder", "net/z": "-> nowhere"}
        model.download(exist_ok=True)
        assert tree_of(Path())["net/z"] == "new z"

    @pytest.mark.parametrize("taken", ["azureml-models", "azureml-models/net", "azureml-models/net/1"])
    def test_a_file_where_the_models_go_is_named(self, ws: Workspace, model: Model, taken: str) -> None:
        Path(taken).parent.mkdir(parents=True, exist_ok=True)
        Path(taken).write_text("mine")
        there = tree_of(Path())
        with pytest.raises(LocalFileFailed, match=f"^{taken} on this machine .* it is no folder.*Move it away"):
            Model.get_model_path("net", _workspace=ws)
        assert tree_of(Path()) == there


@EACH_KIND
@pytest.mark.parametrize(
    ("files", "top"), [(["weights"], "/weights"), (["net/a", "net/b"], "/net"), (["net/a", "MLmodel"], "")]
)
def test_all_files_of_a_run_are_where_both_calls_say(ws: Workspace, run: Run, files: list[str], top: str) -> None:
    for name in files:
        run.upload_file(name, io.BytesIO(b"content"))
    model = run.register_model("m", ".")
    assert model.download("down") == f"down{top}"
    for _ in range(2):
        assert Model.get_model_path("m", _workspace=ws) == f"azureml-models/m/1{top}"
    assert Model.get_model_path("m") == f"azureml-models/m/1{top}"


@EACH_KIND
def test_an_empty_path_is_no_file_and_no_folder(ws: Workspace, run: Run) -> None:
    with pytest.raises(InvalidValue, match=r"'' for model_path: must not be empty; '.' is all files of the run"):
        run.register_model("m", "")
    with pytest.raises(InvalidValue, match=r"'' for model_path: must not be empty; '.' is the current folder"):
        Model.register(ws, "", "m")


@EACH_KIND
def test_a_model_whose_files_were_deleted_is_said_so(ws: Workspace, run: Run) -> None:
    run.upload_file("model/weights", io.BytesIO(b"weights"))
    model = run.register_model("m", "model")
    uri = ws.get_mlflow_tracking_uri()
    with mlflow_pointed_at(uri):
        get_artifact_repository(MlflowClient().get_run(run.id).info.artifact_uri).delete_artifacts("model")
    for call in (lambda: model.download("down"), lambda: Model.get_model_path("m", _workspace=ws)):
        with pytest.raises(NotFound, match=r"'model' not found. Model m:1 has no files any more"):
            call()
    assert not Path("down").exists()
    assert not Path("azureml-models").exists()


class TestModelPath:
    @pytest.fixture
    def folder(self, tmp_path: Path) -> Path:
        """A model of two files."""
        (tmp_path / "net").mkdir()
        for name in ("a.bin", "b.bin"):
            (tmp_path / "net" / name).write_text(name)
        return tmp_path / "net"

    def test_it_is_where_the_sdk_has_it_and_there_from_then_on(self, ws: Workspace, folder: Path) -> None:
        model = Model.register(ws, str(folder), "net")
        path = Model.get_model_path("net", _workspace=ws)
        assert path == "azureml-models/net/1/net"
        assert sorted(file.name for file in Path(path).iterdir()) == ["a.bin", "b.bin"]
        model.delete()
        assert Model.get_model_path("net") == Model.get_model_path("net", version=1, _workspace=ws) == path

    def test_a_model_of_which_a_part_came_is_none(self, ws: Workspace, folder: Path) -> None:
        Model.register(ws, str(folder), "net")
        assert ws.path is not None
        content = next(
            path for path in (ws.path / "files").rglob("*") if path.is_file() and path.read_text() == "b.bin"
        )
        content.rename(content.with_suffix(".gone"))
        with pytest.raises(AmlStoreError):
            Model.get_model_path("net", _workspace=ws)
        with pytest.raises(NotFound):
            Model.get_model_path("net", version=1)

        content.with_suffix(".gone").rename(content)
        path = Model.get_model_path("net", _workspace=ws)
        assert sorted(file.name for file in Path(path).iterdir()) == ["a.bin", "b.bin"]
        assert [each.name for each in Path("azureml-models/net").iterdir()] == ["1"]

    def test_a_folder_of_the_models_name_will_do_where_no_workspace_is_given(self, ws: Workspace, folder: Path) -> None:
        folder.rename("net")
        assert Model.get_model_path("net") == "net"

    @pytest.mark.parametrize(("name", "version"), [("..", None), ("a/b", None), (None, None), ("net", 1.5), ("net", 0)])
    def test_names_and_versions_that_are_none_are_refused(self, ws: Workspace, name: Any, version: Any) -> None:
        with pytest.raises(InvalidValue):
            Model.get_model_path(name, version, ws)
