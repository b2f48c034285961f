"""Registered models and their versions, in a real database."""

import itertools
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from sqlalchemy import Engine, event

from mlflow_amlstore.errors import AlreadyExists, InvalidValue, NotFound, PathUnsafe
from mlflow_amlstore.records.database import Database
from mlflow_amlstore.records.schema import create_database
from mlflow_amlstore.records.search import grammars
from mlflow_amlstore.records.sql.models import SqlModels

SOURCE = "workspace:/1/0a1b2c/artifacts/model"
PROMPT = {"mlflow.prompt.is_prompt": "true"}


@pytest.fixture
def models(tmp_path: Path) -> SqlModels:
    """An empty store whose clock goes up by one at every look."""
    database = Database(tmp_path, now_ms=itertools.count(1000).__next__)
    create_database(database)
    return SqlModels(database)


class TestModel:
    def test_a_new_model_has_what_it_was_given_and_no_version(self, models: SqlModels) -> None:
        created = models.create("iris", description="a flower", tags={"team": "botany"}, deployment_job_id="7")

        assert models.get("iris") == created
        assert (created.name, created.description, created.deployment_job_id) == ("iris", "a flower", "7")
        assert created.tags == {"team": "botany"}
        assert (created.aliases, created.latest_versions) == ({}, [])
        assert created.created_ms == created.updated_ms

    def test_a_name_is_registered_once(self, models: SqlModels) -> None:
        models.create("iris")
        with pytest.raises(AlreadyExists, match=r"Registered model 'iris' already exists$"):
            models.create("iris")

    def test_a_prompt_and_a_model_share_their_names(self, models: SqlModels) -> None:
        models.create("greeting", tags=PROMPT)
        with pytest.raises(AlreadyExists, match=r"'greeting' already exists\. A prompt and a model can't have"):
            models.create("greeting")
        with pytest.raises(AlreadyExists, match=r"Prompt 'greeting' already exists$"):
            models.create("greeting", tags=PROMPT)

    @pytest.mark.parametrize("name", ["", "  ", "a/b", "a:b", "..", None])
    def test_a_bad_name_is_refused(self, models: SqlModels, name: str) -> None:
        with pytest.raises(InvalidValue, match="model name"):
            models.create(name)
        with pytest.raises(InvalidValue, match="model name"):
            models.get(name)

    def test_an_unknown_model_is_not_found(self, models: SqlModels) -> None:
        with pytest.raises(NotFound, match="Registered model 'iris' not found"):
            models.get("iris")

    def test_update_sets_the_description_and_keeps_the_deployment_job_unless_given(self, models: SqlModels) -> None:
        models.create("iris", description="old", deployment_job_id="7")
        changed = models.update("iris", description=None)
        assert (changed.description, changed.deployment_job_id) == (None, "7")
        assert changed.updated_ms > changed.created_ms
        assert models.update("iris", description="new", deployment_job_id="8").deployment_job_id == "8"

    def test_renaming_takes_versions_tags_and_aliases_along(self, models: SqlModels) -> None:
        models.create("iris", tags={"team": "botany"})
        models.create_version("iris", SOURCE, tags={"k": "v"})
        models.set_alias("iris", "best", 1)

        renamed = models.rename("iris", "lily")

        assert (renamed.name, renamed.tags, renamed.aliases) == ("lily", {"team": "botany"}, {"best": 1})
        version = models.get_version("lily", 1)
        assert (version.name, version.tags, version.aliases) == ("lily", {"k": "v"}, ["best"])
        assert version.updated_ms == renamed.updated_ms
        with pytest.raises(NotFound):
            models.get("iris")

    def test_renaming_to_a_name_that_is_taken_is_refused_and_changes_nothing(self, models: SqlModels) -> None:
        models.create("iris")
        models.create("lily")
        with pytest.raises(AlreadyExists, match="'lily'"):
            models.rename("iris", "lily")
        assert models.get("iris").name == "iris"

    def test_renaming_to_its_own_name_is_fine(self, models: SqlModels) -> None:
        models.create("iris")
        assert models.rename("iris", "iris").name == "iris"

    def test_renaming_to_a_bad_name_is_refused(self, models: SqlModels) -> None:
        models.create("iris")
        with pytest.raises(InvalidValue, match="new model name"):
            models.rename("iris", "a/b")

    def test_a_deleted_model_leaves_nothing_to_the_next_of_its_name(self, models: SqlModels) -> None:
        models.create("iris", tags={"team": "botany"})
        models.create_version("iris", SOURCE, tags={"k": "v"})
        models.set_alias("iris", "best", 1)

        models.delete("iris")
        with pytest.raises(NotFound):
            models.get("iris")

        again = models.create("iris")
        assert (again.tags, again.aliases, again.latest_versions) == ({}, {}, [])
        assert models.create_version("iris", SOURCE).version == 1

    def test_tags_are_set_changed_and_deleted(self, models: SqlModels) -> None:
        models.create("iris")
        models.set_tag("iris", "team", "botany")
        models.set_tag("iris", "team", "zoology")
        models.set_tag("iris", "stage", "dev")
        models.delete_tag("iris", "stage")
        models.delete_tag("iris", "never set")
        assert models.get("iris").tags == {"team": "zoology"}

    def test_a_bad_tag_is_refused_and_the_model_is_not_made(self, models: SqlModels) -> None:
        with pytest.raises(InvalidValue, match="tag 'team'"):
            models.create("iris", tags={"team": "x" * 100_001})
        with pytest.raises(NotFound):
            models.get("iris")


class TestVersion:
    def test_a_new_version_has_what_it_was_given(self, models: SqlModels) -> None:
        models.create("iris")
        created = models.create_version(
            "iris",
            SOURCE,
            run_id="0a1b2c",
            run_link="https://example.org/run",
            description="first",
            user_id="ada",
            model_id="m-1",
            tags={"k": "v"},
        )
        assert models.get_version("iris", 1) == created
        assert (created.name, created.version, created.stage, created.status) == ("iris", 1, "None", "READY")
        assert (created.source, created.storage_location) == (SOURCE, SOURCE)
        assert (created.run_id, created.run_link) == ("0a1b2c", "https://example.org/run")
        assert (created.description, created.user_id, created.model_id) == ("first", "ada", "m-1")
        assert (created.tags, created.aliases) == ({"k": "v"}, [])
        assert models.get("iris").updated_ms == created.created_ms

    def test_the_files_may_be_elsewhere_than_the_source_says(self, models: SqlModels) -> None:
        models.create("iris")
        created = models.create_version("iris", "models:/lily/3", storage_location=SOURCE)
        assert (created.source, created.storage_location) == ("models:/lily/3", SOURCE)

    @pytest.mark.parametrize(
        "source",
        [
            "/etc/passwd",
            "file:///etc/passwd",
            "model",
            "http://example.org/m",
            "workspace:/1/r/artifacts/../../../x",
            "",
        ],
    )
    def test_a_source_outside_the_workspace_is_refused(self, models: SqlModels, source: str) -> None:
        models.create("iris")
        with pytest.raises(PathUnsafe):
            models.create_version("iris", source)
        with pytest.raises(PathUnsafe):
            models.create_version("iris", SOURCE, storage_location=source)
        assert models.get("iris").latest_versions == []

    def test_only_a_prompt_may_have_the_prompt_placeholder_for_a_source(self, models: SqlModels) -> None:
        models.create("greeting", tags=PROMPT)
        assert models.create_version("greeting", "prompt-template", tags=PROMPT).source == "prompt-template"
        assert models.create_version("greeting", "dummy-source", tags=PROMPT).source == "dummy-source"
        with pytest.raises(PathUnsafe):
            models.create_version("greeting", "prompt-template")
        with pytest.raises(PathUnsafe):
            models.create_version("greeting", "/etc/passwd", tags=PROMPT)

    def test_versions_are_numbered_by_model(self, models: SqlModels) -> None:
        for name in ("iris", "lily"):
            models.create(name)
        numbers = [models.create_version(name, SOURCE).version for name in ("iris", "iris", "lily", "iris")]
        assert numbers == [1, 2, 1, 3]

    def test_versions_made_at_the_same_time_have_numbers_of_their_own(self, models: SqlModels) -> None:
        models.create("iris")
        with ThreadPoolExecutor(8) as threads:
            made = list(threads.map(lambda _: models.create_version("iris", SOURCE).version, range(40)))
        assert sorted(made) == list(range(1, 41))

    def test_a_deleted_version_is_gone_and_its_number_is_not_given_again(self, models: SqlModels) -> None:
        models.create("iris")
        for _ in range(2):
            models.create_version("iris", SOURCE, run_id="0a1b2c", tags={"k": "v"})
        models.set_alias("iris", "best", 2)
        models.set_alias("iris", "safe", 1)

        models.delete_version("iris", 2)

        with pytest.raises(NotFound, match="Model version 'iris/2' not found"):
            models.get_version("iris", 2)
        model = models.get("iris")
        assert model.aliases == {"safe": 1}
        assert [version.version for version in model.latest_versions] == [1]
        assert [version.version for version in models.search_versions().items] == [1]
        assert models.create_version("iris", SOURCE).version == 3
        with pytest.raises(NotFound):
            models.delete_version("iris", 2)

    def test_what_a_deleted_version_was_made_from_is_not_kept(self, models: SqlModels, tmp_path: Path) -> None:
        models.create("iris")
        models.create_version("iris", SOURCE, run_id="0a1b2c", user_id="ada", tags={"secret": "word"})
        models.delete_version("iris", 1)
        with Database(tmp_path).read() as connection:
            row = connection.exec_driver_sql(
                "SELECT source, storage_location, run_id, user_id FROM model_versions"
            ).one()
            assert tuple(row) == ("", "", None, None)
            assert connection.exec_driver_sql("SELECT count(*) FROM model_version_tags").scalar() == 0

    @pytest.mark.parametrize("version", ["one", None, ""])
    def test_a_version_that_is_no_number_is_refused(self, models: SqlModels, version: int) -> None:
        models.create("iris")
        with pytest.raises(InvalidValue, match="version"):
            models.get_version("iris", version)

    @pytest.mark.parametrize("version", [0, -1, 2, 2**40])
    def test_a_number_that_no_version_has_is_not_found(self, models: SqlModels, version: int) -> None:
        models.create("iris")
        models.create_version("iris", SOURCE)
        with pytest.raises(NotFound, match=f"iris/{version}"):
            models.get_version("iris", version)

    def test_update_sets_the_description_and_leaves_the_model_alone(self, models: SqlModels) -> None:
        models.create("iris")
        created = models.create_version("iris", SOURCE, description="old")
        changed = models.update_version("iris", 1, description="new")
        assert changed.description == "new"
        assert changed.updated_ms > created.updated_ms
        assert models.get("iris").updated_ms == created.updated_ms

    def test_tags_of_versions_are_set_changed_and_deleted(self, models: SqlModels) -> None:
        models.create("iris")
        for _ in range(2):
            models.create_version("iris", SOURCE)
        models.set_version_tag("iris", 1, "k", "old")
        models.set_version_tag("iris", 1, "k", "new")
        models.set_version_tag("iris", 2, "k", "other")
        models.delete_version_tag("iris", 2, "k")
        models.delete_version_tag("iris", 2, "never set")
        assert [models.get_version("iris", number).tags for number in (1, 2)] == [{"k": "new"}, {}]


class TestAlias:
    @pytest.fixture(autouse=True)
    def _three_versions(self, models: SqlModels) -> None:
        models.create("iris")
        for _ in range(3):
            models.create_version("iris", SOURCE)

    def test_an_alias_is_at_one_version_at_a_time(self, models: SqlModels) -> None:
        models.set_alias("iris", "best", 1)
        models.set_alias("iris", "best", 3)
        assert models.get_version_by_alias("iris", "best").version == 3
        assert models.get_version("iris", 1).aliases == []
        assert models.get("iris").aliases == {"best": 3}

    def test_a_version_may_have_several(self, models: SqlModels) -> None:
        for alias in ("safe", "best"):
            models.set_alias("iris", alias, 2)
        assert models.get_version("iris", 2).aliases == ["best", "safe"]

    def test_an_alias_needs_its_version(self, models: SqlModels) -> None:
        with pytest.raises(NotFound, match="iris/9"):
            models.set_alias("iris", "best", 9)

    @pytest.mark.parametrize("alias", ["latest", "Latest", "v1", "a b", "", None])
    def test_a_reserved_or_bad_alias_is_refused(self, models: SqlModels, alias: str) -> None:
        with pytest.raises(InvalidValue, match="alias"):
            models.set_alias("iris", alias, 1)

    def test_a_missing_alias_is_an_invalid_value_as_in_mlflow(self, models: SqlModels) -> None:
        with pytest.raises(InvalidValue, match="alias: not found: registered model 'iris' has no such alias"):
            models.get_version_by_alias("iris", "best")

    def test_a_deleted_alias_is_gone_and_deleting_it_again_is_fine(self, models: SqlModels) -> None:
        models.set_alias("iris", "best", 1)
        models.delete_alias("iris", "best")
        models.delete_alias("iris", "best")
        assert models.get("iris").aliases == {}

    def test_latest_is_the_newest_version_whatever_its_stage(self, models: SqlModels) -> None:
        models.set_stage("iris", 1, "Production")
        assert models.get_version_by_alias("iris", "latest").version == 3
        models.delete_version("iris", 3)
        assert models.get_version_by_alias("iris", "LATEST").version == 2

    def test_a_model_without_versions_has_no_latest(self, models: SqlModels) -> None:
        models.create("lily")
        with pytest.raises(NotFound, match="The model has no version yet"):
            models.get_version_by_alias("lily", "latest")


class TestStage:
    @pytest.fixture(autouse=True)
    def _four_versions(self, models: SqlModels) -> None:
        models.create("iris")
        for _ in range(4):
            models.create_version("iris", SOURCE)

    def test_a_stage_is_taken_in_any_case(self, models: SqlModels) -> None:
        assert models.set_stage("iris", 1, "pRoDuCtIoN").stage == "Production"

    def test_an_unknown_stage_is_refused_with_the_ones_there_are(self, models: SqlModels) -> None:
        with pytest.raises(InvalidValue, match="'live' for stage: must be one of None, Staging, Production, Archived"):
            models.set_stage("iris", 1, "live")
        with pytest.raises(InvalidValue, match="stage"):
            models.latest_versions("iris", ["live"])

    def test_a_move_can_archive_those_that_are_in_the_stage(self, models: SqlModels) -> None:
        for number in (1, 2):
            models.set_stage("iris", number, "Production")
        models.set_stage("iris", 3, "Staging")

        moved = models.set_stage("iris", 4, "Production", archive_existing=True)

        stages = [models.get_version("iris", number).stage for number in (1, 2, 3, 4)]
        assert stages == ["Archived", "Archived", "Staging", "Production"]
        assert models.get("iris").updated_ms == moved.updated_ms

    @pytest.mark.parametrize("stage", ["None", "Archived"])
    def test_only_a_move_to_staging_or_production_archives(self, models: SqlModels, stage: str) -> None:
        with pytest.raises(InvalidValue, match=f"moves to Staging or Production, not to {stage}"):
            models.set_stage("iris", 1, stage, archive_existing=True)

    def test_a_version_that_is_not_there_archives_nothing(self, models: SqlModels) -> None:
        models.set_stage("iris", 1, "Production")
        with pytest.raises(NotFound):
            models.set_stage("iris", 9, "Production", archive_existing=True)
        assert models.get_version("iris", 1).stage == "Production"

    def test_the_latest_versions_are_the_newest_of_each_stage(self, models: SqlModels) -> None:
        for number in (1, 2):
            models.set_stage("iris", number, "Staging")
        newest = {version.stage: version.version for version in models.latest_versions("iris")}
        assert newest == {"Staging": 2, "None": 4}
        assert models.get("iris").latest_versions == models.latest_versions("iris")
        assert [version.version for version in models.latest_versions("iris", ["staging"])] == [2]
        assert models.latest_versions("iris", ["Production"]) == []


class TestSearch:
    def test_models_come_by_name_with_their_tags_aliases_and_latest_versions(self, models: SqlModels) -> None:
        for name in ("lily", "iris", "rose"):
            models.create(name, tags={"of": name})
            models.create_version(name, SOURCE, tags={"n": name})
            models.set_alias(name, "best", 1)

        found = models.search().items

        assert [model.name for model in found] == ["iris", "lily", "rose"]
        assert found == [models.get(model.name) for model in found]

    def test_pages_follow_each_other(self, models: SqlModels) -> None:
        for number in range(5):
            models.create(f"model-{number}")
        first = models.search(max_results=2)
        second = models.search(max_results=2, page_token=first.next_token)
        third = models.search(max_results=2, page_token=second.next_token)
        names = [model.name for page in (first, second, third) for model in page.items]
        assert names == [f"model-{number}" for number in range(5)]
        assert third.next_token is None

    def test_prompts_are_found_only_when_asked_for(self, models: SqlModels) -> None:
        models.create("iris")
        models.create_version("iris", SOURCE)
        models.create("greeting", tags=PROMPT)
        models.create_version("greeting", "prompt-template", tags=PROMPT)
        of_prompts = "tags.`mlflow.prompt.is_prompt` = 'true'"
        assert [model.name for model in models.search().items] == ["iris"]
        assert [model.name for model in models.search(filter=grammars.MODELS.parse(of_prompts)).items] == ["greeting"]
        assert [version.name for version in models.search_versions().items] == ["iris"]
        of_prompts_versions = grammars.VERSIONS.parse(of_prompts)
        assert [version.name for version in models.search_versions(filter=of_prompts_versions).items] == ["greeting"]

    def test_versions_are_found_by_model_source_run_and_tag(self, models: SqlModels) -> None:
        models.create("iris")
        models.create_version("iris", SOURCE, run_id="0a1b2c", tags={"k": "v"})
        models.create_version("iris", SOURCE + "-2")
        for filter, numbers in {
            "name = 'iris'": [2, 1],
            "run_id = '0a1b2c'": [1],
            f"source_path = '{SOURCE}-2'": [2],
            "tags.k = 'v'": [1],
            "version_number > 1": [2],
            "name = 'lily'": [],
        }.items():
            found = models.search_versions(filter=grammars.VERSIONS.parse(filter)).items
            assert [version.version for version in found] == numbers, filter
            assert found == [models.get_version("iris", number) for number in numbers]

    def test_a_page_of_many_versions_has_the_tags_and_aliases_of_each(self, models: SqlModels) -> None:
        """More versions than one statement takes keys."""
        models.create("iris")
        for number in range(1, 1001):
            models.create_version("iris", SOURCE, tags={"number": str(number)})
        models.set_alias("iris", "best", 500)

        found = models.search_versions(order_by=["version_number ASC"]).items

        assert [version.tags["number"] for version in found] == [str(number) for number in range(1, 1001)]
        assert [version.version for version in found if version.aliases] == [500]

    def test_a_search_takes_as_many_queries_for_many_models_as_for_few(self, models: SqlModels) -> None:
        def queries() -> int:
            statements: list[str] = []

            def note(_connection: object, _cursor: object, statement: str, *_: object) -> None:
                statements.append(statement)

            event.listen(Engine, "before_cursor_execute", note)
            models.search()
            event.remove(Engine, "before_cursor_execute", note)
            return len(statements)

        models.create("model-0")
        models.create_version("model-0", SOURCE)
        few = queries()
        for number in range(1, 50):
            models.create(f"model-{number}")
            models.create_version(f"model-{number}", SOURCE)
        assert queries() == few
