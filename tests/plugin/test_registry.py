"""MLflow's registry calls on a workspace, many of them side by side with MLflow's own SQLite store."""

import pickle
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import mlflow
import mlflow.entities
import pytest
from fork_server import run_forked
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException
from mlflow.tracking._model_registry.utils import _get_store

from mlflow_amlstore.plugin.registry import RegistryStore
from mlflow_amlstore.workspace.opening import EmbeddedWorkspace, create_workspace

HAS_LOGGED_MODELS = hasattr(mlflow.entities, "LoggedModel")
IS_NEWEST = tuple(int(part) for part in mlflow.__version__.split(".")[:2]) >= (3, 17)
prompts = mlflow.genai if hasattr(getattr(mlflow, "genai", None), "register_prompt") else mlflow
needs_logged_models = pytest.mark.skipif(not HAS_LOGGED_MODELS, reason="MLflow 2 has no logged models")
needs_prompts = pytest.mark.skipif(not hasattr(prompts, "register_prompt"), reason="this MLflow has no prompts")
needs_newest = pytest.mark.skipif(not IS_NEWEST, reason="older MLflow lacks some of these calls")

pytestmark = pytest.mark.filterwarnings("ignore:.*stages will be removed:FutureWarning")

SOURCE = "s3://bucket/model"


def plain(value: Any) -> Any:
    """What two stores should agree on: all of an entity but its times."""
    if isinstance(value, list):
        return [plain(item) for item in value]
    if isinstance(value, dict | tuple | str | int | None):
        return value
    fields = {name: item for name, item in dict(value).items() if "timestamp" not in name}
    if "latest_versions" in fields:
        fields["latest_versions"] = sorted(
            (version.version, version.current_stage) for version in value.latest_versions
        )
    return fields


def outcome(call: Callable[[MlflowClient], Any], client: MlflowClient) -> Any:
    """What a call returned, or the code of the error that it raised."""
    try:
        return plain(call(client))
    except MlflowException as error:
        return error.error_code


def number_of(version: Any) -> int:
    return int(version.version)


def add_versions(client: MlflowClient, name: str = "iris", count: int = 1) -> None:
    client.create_registered_model(name)
    for number in range(count):
        client.create_model_version(name, f"{SOURCE}/{number}")


CALLS: dict[str, Callable[[MlflowClient], Any]] = {
    "get": lambda client: client.get_registered_model("iris"),
    "get unknown": lambda client: client.get_registered_model("lily"),
    "get bad name": lambda client: client.get_registered_model("a/b"),
    "create": lambda client: client.create_registered_model("lily", {"k": "v"}, "a flower"),
    "create taken": lambda client: client.create_registered_model("iris"),
    "create without a name": lambda client: client.create_registered_model(""),
    "create with a bad tag": lambda client: client.create_registered_model("lily", {"a//b": "v"}),
    "update": lambda client: client.update_registered_model("iris", "new"),
    "rename": lambda client: client.rename_registered_model("iris", "lily"),
    "rename to taken": lambda client: client.rename_registered_model("iris", "rose"),
    "rename to bad": lambda client: client.rename_registered_model("iris", "a:b"),
    "delete": lambda client: client.delete_registered_model("iris"),
    "delete unknown": lambda client: client.delete_registered_model("lily"),
    "tag": lambda client: client.set_registered_model_tag("iris", "k", "v"),
    "tag unknown": lambda client: client.set_registered_model_tag("lily", "k", "v"),
    "delete tag": lambda client: client.delete_registered_model_tag("iris", "team"),
    "delete no tag": lambda client: client.delete_registered_model_tag("iris", "never set"),
    "search": lambda client: list(client.search_registered_models()),
    "search by name": lambda client: list(client.search_registered_models("name LIKE 'i%'")),
    "search by tag": lambda client: list(client.search_registered_models("tags.team = 'botany'")),
    "search in order": lambda client: list(client.search_registered_models(order_by=["name DESC"])),
    "search nonsense": lambda client: client.search_registered_models("colour = 'blue'"),
    "search too many": lambda client: client.search_registered_models(max_results=1001),
    "search a bad page": lambda client: client.search_registered_models(page_token="%%%"),
    "version": lambda client: client.create_model_version("iris", SOURCE, "abc", {"k": "v"}, "link", "words"),
    "version of unknown": lambda client: client.create_model_version("lily", SOURCE),
    "get version": lambda client: client.get_model_version("iris", "2"),
    "get version by text": lambda client: client.get_model_version("iris", "two"),
    "get version unknown": lambda client: client.get_model_version("iris", "9"),
    "update version": lambda client: client.update_model_version("iris", "1", "new"),
    "delete version": lambda client: client.delete_model_version("iris", "1"),
    "delete version unknown": lambda client: client.delete_model_version("iris", "9"),
    "version tag": lambda client: client.set_model_version_tag("iris", "1", "k", "v"),
    "version tag by stage": lambda client: client.set_model_version_tag("iris", key="k", value="v", stage="Staging"),
    "delete version tag": lambda client: client.delete_model_version_tag("iris", "1", "never set"),
    "download uri": lambda client: client.get_model_version_download_uri("iris", "1"),
    "latest versions": lambda client: sorted(client.get_latest_versions("iris", ["None", "Staging"]), key=number_of),
    "latest of bad stage": lambda client: client.get_latest_versions("iris", ["live"]),
    "stage": lambda client: client.transition_model_version_stage("iris", "1", "staging", True),
    "stage bad": lambda client: client.transition_model_version_stage("iris", "1", "live"),
    "stage of unknown": lambda client: client.transition_model_version_stage("iris", "9", "Staging"),
    "alias": lambda client: client.set_registered_model_alias("iris", "safe", "1"),
    "alias reserved": lambda client: client.set_registered_model_alias("iris", "latest", "1"),
    "alias like a version": lambda client: client.set_registered_model_alias("iris", "v1", "1"),
    "alias of unknown": lambda client: client.set_registered_model_alias("iris", "safe", "9"),
    "by alias": lambda client: client.get_model_version_by_alias("iris", "best"),
    "by no alias": lambda client: client.get_model_version_by_alias("iris", "worst"),
    "by alias of unknown": lambda client: client.get_model_version_by_alias("lily", "best"),
    "delete alias": lambda client: client.delete_registered_model_alias("iris", "best"),
    "delete no alias": lambda client: client.delete_registered_model_alias("iris", "worst"),
    "search versions by name": lambda client: [v.version for v in client.search_model_versions("name = 'iris'")],
    "search versions by source": lambda client: [
        v.version for v in client.search_model_versions(f"source_path = '{SOURCE}/1'")
    ],
    "search versions in order": lambda client: [
        (v.name, v.version) for v in client.search_model_versions(order_by=["name DESC", "version_number ASC"])
    ],
    "search versions nonsense": lambda client: client.search_model_versions("colour = 'blue'"),
    "search versions none": lambda client: client.search_model_versions(max_results=0),
    "copy": lambda client: client.copy_model_version("models:/iris/2", "copied"),
    "copy unknown": lambda client: client.copy_model_version("models:/iris/9", "copied"),
}

# What older releases of MLflow's store answer otherwise.
NEW_ANSWERS = {"get bad name", "rename to bad", "latest versions", "by alias of unknown"}


@pytest.mark.parametrize(
    "call",
    [pytest.param(call, id=name, marks=needs_newest if name in NEW_ANSWERS else ()) for name, call in CALLS.items()],
)
def test_a_call_does_what_mlflows_own_store_does(
    call: Callable[[MlflowClient], Any], client: MlflowClient, sqlite_client: MlflowClient
) -> None:
    for each in (client, sqlite_client):
        add_versions(each, "iris", 3)
        add_versions(each, "rose")
        each.set_registered_model_tag("iris", "team", "botany")
        each.transition_model_version_stage("iris", "2", "Staging")
        each.set_registered_model_alias("iris", "best", "3")

    assert outcome(call, client) == outcome(call, sqlite_client)

    for name in ("iris", "lily", "rose", "copied"):
        assert outcome(lambda each, name=name: each.get_registered_model(name), client) == outcome(
            lambda each, name=name: each.get_registered_model(name), sqlite_client
        )
    for number in ("1", "2", "3", "4"):
        assert outcome(lambda each, number=number: each.get_model_version("iris", number), client) == outcome(
            lambda each, number=number: each.get_model_version("iris", number), sqlite_client
        )


class TestSource:
    @pytest.fixture
    def run_id(self, client: MlflowClient) -> str:
        """A run with the files of a model."""
        run_id: str = client.create_run("0").info.run_id
        client.log_text(run_id, "flavors: {}", "model/MLmodel")
        return run_id

    def test_a_model_of_a_run_is_registered_and_downloaded(
        self, client: MlflowClient, run_id: str, workspace: EmbeddedWorkspace, tmp_path: Path
    ) -> None:
        version = mlflow.register_model(f"runs:/{run_id}/model", "iris")

        assert (version.version, version.status, version.run_id) == (1, "READY", run_id)
        assert version.source == f"{workspace.root_uri}/0/{run_id}/artifacts/model"
        assert client.get_model_version_download_uri("iris", "1") == version.source
        folder = mlflow.artifacts.download_artifacts("models:/iris/1", dst_path=str(tmp_path / "got"))
        assert Path(folder, "MLmodel").read_text() == "flavors: {}"

    def test_a_record_does_not_say_where_the_workspace_is(self, run_id: str, workspace: EmbeddedWorkspace) -> None:
        mlflow.register_model(f"runs:/{run_id}/model", "iris")
        record = workspace.records.models.get_version("iris", 1)
        assert record.source == record.storage_location == f"workspace:/0/{run_id}/artifacts/model"

    def test_a_moved_workspace_still_has_its_models(
        self, run_id: str, workspace: EmbeddedWorkspace, tmp_path: Path
    ) -> None:
        mlflow.register_model(f"runs:/{run_id}/model", "iris")
        workspace.close()
        shutil.move(workspace.folder, tmp_path / "moved")
        moved = create_workspace(tmp_path / "moved")
        version = RegistryStore(moved.root_uri).get_model_version("iris", 1)
        moved.close()
        assert version.source == f"{moved.root_uri}/0/{run_id}/artifacts/model"

    def test_versions_are_found_by_the_source_that_mlflow_shows(self, client: MlflowClient, run_id: str) -> None:
        source = mlflow.register_model(f"runs:/{run_id}/model", "iris").source
        client.create_model_version("iris", SOURCE)
        for filter_string in (
            f"source_path = '{source}'",
            f'name = "iris" and source_path="{source}"',
            f"source_path LIKE '{source[:-3]}%'",
            f"source_path != '{SOURCE}'",
        ):
            assert [found.version for found in client.search_model_versions(filter_string)] == [1], filter_string
        assert client.search_model_versions(f"source_path != '{source}'")[0].version == 2

    def test_a_copy_has_the_files_of_the_first(self, client: MlflowClient, run_id: str) -> None:
        first = mlflow.register_model(f"runs:/{run_id}/model", "iris")
        copy = client.copy_model_version("models:/iris/1", "prod")
        again = client.copy_model_version("models:/prod/1", "live")
        assert (copy.source, again.source) == ("models:/iris/1", "models:/prod/1")
        assert copy.run_id == again.run_id == run_id
        for name in ("prod", "live"):
            assert client.get_model_version_download_uri(name, "1") == first.source

    @pytest.mark.parametrize("source", ["FILE:///etc/passwd", "model", "http://example.org/m", ""])
    def test_what_is_nowhere_is_refused(self, client: MlflowClient, source: str) -> None:
        client.create_registered_model("iris")
        with pytest.raises(MlflowException, match=r"model source.*log the model to a run first") as caught:
            client.create_model_version("iris", source)
        assert caught.value.error_code == "INVALID_PARAMETER_VALUE"

    def test_a_source_must_be_given(self, client: MlflowClient) -> None:
        client.create_registered_model("iris")
        with pytest.raises(MlflowException, match="None for model source: must be a URI") as caught:
            client.create_model_version("iris", None)
        assert caught.value.error_code == "INVALID_PARAMETER_VALUE"

    def test_a_source_that_climbs_out_of_the_workspace_is_refused(
        self, client: MlflowClient, workspace: EmbeddedWorkspace
    ) -> None:
        client.create_registered_model("iris")
        with pytest.raises(MlflowException, match=r"'\.\.'"):
            client.create_model_version("iris", f"{workspace.root_uri}/0/r/artifacts/../../../../etc")

    @pytest.mark.parametrize(
        ("source", "code"),
        [("models:/iris/9", "RESOURCE_DOES_NOT_EXIST"), ("models:/iris@best", "INVALID_PARAMETER_VALUE")],
    )
    def test_a_models_uri_must_name_a_version_that_is_there(self, client: MlflowClient, source: str, code: str) -> None:
        client.create_registered_model("iris")
        with pytest.raises(MlflowException, match="iris") as caught:
            client.create_model_version("iris", source)
        assert caught.value.error_code == code

    @needs_logged_models
    def test_a_logged_model_is_found_in_its_own_workspace_whatever_the_tracking_uri_is(
        self, client: MlflowClient, workspace: EmbeddedWorkspace, tmp_path: Path
    ) -> None:
        run_id = client.create_run("0").info.run_id
        logged = client.create_logged_model("0", name="tree", source_run_id=run_id)
        client.create_registered_model("iris")
        registry = MlflowClient(workspace.root_uri, workspace.root_uri)
        mlflow.set_tracking_uri(f"sqlite:///{tmp_path}/elsewhere.db")

        version = registry.create_model_version("iris", f"models:/{logged.model_id}")

        assert (version.run_id, version.model_id) == (run_id, logged.model_id)
        assert registry.get_model_version_download_uri("iris", "1") == logged.artifact_location

    @needs_logged_models
    def test_a_version_of_a_model_id_is_of_that_models_run(self, client: MlflowClient) -> None:
        run_id = client.create_run("0").info.run_id
        logged = client.create_logged_model("0", source_run_id=run_id)
        client.create_registered_model("iris")
        version = client.create_model_version("iris", SOURCE, model_id=logged.model_id)
        assert (version.run_id, version.model_id) == (run_id, logged.model_id)
        with pytest.raises(MlflowException, match="Logged model 'm-none' not found"):
            client.create_model_version("iris", SOURCE, model_id="m-none")


@needs_prompts
def test_a_prompt_is_registered_given_an_alias_and_loaded(client: MlflowClient) -> None:
    registered = prompts.register_prompt("greeting", "Hello {{name}}", tags={"lang": "en"})
    prompts.register_prompt("greeting", "Hi {{name}}", commit_message="shorter")
    prompts.set_prompt_alias("greeting", alias="best", version=1)
    assert registered.version == 1
    assert prompts.load_prompt("prompts:/greeting/2").commit_message == "shorter"
    assert prompts.load_prompt("prompts:/greeting@best").format(name="Ada") == "Hello Ada"
    assert client.search_registered_models() == []


@needs_newest
class TestPrompts:
    @pytest.fixture(autouse=True)
    def _client(self, client: MlflowClient) -> None:
        """The functions below use the workspace."""

    def test_a_prompt_is_registered_and_loaded(self) -> None:
        registered = mlflow.genai.register_prompt("greeting", "Hello {{name}}", tags={"lang": "en"})
        mlflow.genai.register_prompt("greeting", "Hi {{name}}", commit_message="shorter")
        mlflow.genai.set_prompt_alias("greeting", alias="best", version=1)

        assert registered.version == 1
        assert mlflow.genai.load_prompt("prompts:/greeting/1").format(name="Ada") == "Hello Ada"
        assert mlflow.genai.load_prompt("prompts:/greeting@best").tags["lang"] == "en"
        assert mlflow.genai.load_prompt("greeting").template == "Hi {{name}}"
        assert mlflow.genai.load_prompt("greeting", version=2).commit_message == "shorter"

    def test_a_chat_prompt_keeps_its_messages(self) -> None:
        messages = [{"role": "system", "content": "Be {{mood}}"}, {"role": "user", "content": "{{question}}"}]
        mlflow.genai.register_prompt("chat", messages, response_format={"type": "object"})
        loaded = mlflow.genai.load_prompt("chat", version=1)
        assert loaded.template == messages
        assert loaded.response_format == {"type": "object"}

    def test_prompts_are_searched_apart_from_models(self, client: MlflowClient) -> None:
        client.create_registered_model("iris")
        for number in range(3):
            mlflow.genai.register_prompt(f"prompt-{number}", "text", tags={"number": str(number)})
        assert [prompt.name for prompt in mlflow.genai.search_prompts()] == ["prompt-0", "prompt-1", "prompt-2"]
        assert [prompt.name for prompt in mlflow.genai.search_prompts("name = 'prompt-1'")] == ["prompt-1"]
        assert [model.name for model in client.search_registered_models()] == ["iris"]
        assert [version.template for version in client.search_prompt_versions("prompt-2")] == ["text"]

    def test_tags_and_aliases_of_prompts_and_their_versions(self, client: MlflowClient) -> None:
        mlflow.genai.register_prompt("greeting", "Hello")
        client.set_prompt_tag("greeting", "k", "v")
        client.set_prompt_version_tag("greeting", "1", "reviewed", "yes")
        client.set_prompt_alias("greeting", "best", 1)
        assert client.get_prompt("greeting").tags["k"] == "v"
        loaded = client.load_prompt("greeting", version=1)
        assert loaded.tags["reviewed"] == "yes"
        assert loaded.aliases == ["best"]

        client.delete_prompt_tag("greeting", "k")
        client.delete_prompt_version_tag("greeting", "1", "reviewed")
        client.delete_prompt_alias("greeting", "best")
        assert "k" not in client.get_prompt("greeting").tags
        assert "reviewed" not in client.get_prompt_version("greeting", "1").tags
        assert client.load_prompt("prompts:/greeting@best", allow_missing=True, cache_ttl_seconds=0) is None

    def test_a_prompt_and_its_versions_are_deleted(self, client: MlflowClient) -> None:
        for text in ("one", "two"):
            mlflow.genai.register_prompt("greeting", text)
        client.delete_prompt_version("greeting", "2")
        assert mlflow.genai.load_prompt("greeting", cache_ttl_seconds=0).template == "one"
        assert mlflow.genai.register_prompt("greeting", "three").version == 3
        for number in ("1", "3"):
            client.delete_prompt_version("greeting", number)
        client.delete_prompt("greeting")
        assert client.get_prompt("greeting") is None

    def test_a_name_is_a_models_or_a_prompts(self, client: MlflowClient) -> None:
        client.create_registered_model("iris")
        with pytest.raises(MlflowException, match="model"):
            mlflow.genai.register_prompt("iris", "text")
        mlflow.genai.register_prompt("greeting", "text")
        with pytest.raises(MlflowException, match="Prompt 'greeting' already exists") as caught:
            client.create_registered_model("greeting")
        assert caught.value.error_code == "RESOURCE_ALREADY_EXISTS"

    def test_a_missing_prompt_is_an_error_or_none(self) -> None:
        with pytest.raises(MlflowException, match="Prompt 'greeting' not found") as caught:
            mlflow.genai.load_prompt("greeting", version=1)
        assert caught.value.error_code == "RESOURCE_DOES_NOT_EXIST"
        assert mlflow.genai.load_prompt("greeting", version=1, allow_missing=True) is None

    def test_a_prompt_is_linked_to_a_run_and_to_a_model(self, client: MlflowClient) -> None:
        prompt = mlflow.genai.register_prompt("greeting", "Hello")
        run_id = client.create_run("0").info.run_id
        logged = client.create_logged_model("0")
        client.link_prompt_version_to_run(run_id, prompt)
        client.link_prompt_version_to_model("greeting", "1", logged.model_id)
        linked = '[{"name": "greeting", "version": "1"}]'
        assert client.get_run(run_id).data.tags["mlflow.linkedPrompts"] == linked
        assert client.get_logged_model(logged.model_id).tags["mlflow.linkedPrompts"] == linked


class TestStore:
    def test_mlflow_finds_it_by_the_scheme_and_keeps_it(self, workspace: EmbeddedWorkspace) -> None:
        store = _get_store(workspace.root_uri)
        assert isinstance(store, RegistryStore)
        assert _get_store(workspace.root_uri) is store

    def test_a_workspace_that_is_not_there_is_an_mlflow_error(self, tmp_path: Path) -> None:
        with pytest.raises(MlflowException, match=r"No workspace in .*none") as caught:
            RegistryStore(f"amlstore://{tmp_path}/none")
        assert caught.value.error_code == "RESOURCE_DOES_NOT_EXIST"

    def test_a_pickled_store_works_in_another_process(self, client: MlflowClient, workspace: EmbeddedWorkspace) -> None:
        client.create_registered_model("iris")
        pickled = pickle.dumps(RegistryStore(workspace.root_uri))
        script = f"import pickle; print(pickle.loads({pickled!r}).get_registered_model('iris').name)"
        assert run_forked(["-c", script], check=True).stdout == "iris\n"

    def test_there_are_no_webhooks_and_making_one_says_so(self, workspace: EmbeddedWorkspace) -> None:
        store = RegistryStore(workspace.root_uri)
        assert store.list_webhooks() == []
        assert store.list_webhooks_by_event("registered_model.created", max_results=100, page_token=None) == []
        with pytest.raises(MlflowException, match="webhook when a model changes is not supported") as caught:
            store.create_webhook("hook", "https://example.org", [])
        assert caught.value.error_code == "NOT_IMPLEMENTED"


def test_no_tag_without_a_name_is_deleted(client: MlflowClient, sqlite_client: MlflowClient) -> None:
    for each in (client, sqlite_client):
        each.create_registered_model("iris")
        each.create_model_version("iris", "s3://bucket/model")
        for delete in (
            lambda each=each: each.delete_registered_model_tag("iris", None),
            lambda each=each: each.delete_model_version_tag("iris", "1", None),
        ):
            with pytest.raises(MlflowException) as refused:
                delete()
            assert refused.value.error_code == "INVALID_PARAMETER_VALUE"
            assert client.get_registered_model("iris").tags == {}
