"""Logged models and their metrics, in a real database."""

import itertools
import math
import re
from pathlib import Path

import pytest

from mlflow_amlstore.errors import AlreadyExists, Deleted, InvalidValue, NotFound
from mlflow_amlstore.records.database import Database
from mlflow_amlstore.records.schema import create_database
from mlflow_amlstore.records.search import grammars
from mlflow_amlstore.records.sql.experiments import SqlExperiments
from mlflow_amlstore.records.sql.logged_models import SqlLoggedModels, insert_points
from mlflow_amlstore.records.types import LoggedModelPoint, OrderTerm


@pytest.fixture
def database(tmp_path: Path) -> Database:
    """An empty workspace whose clock goes up by one at every look."""
    database = Database(tmp_path, now_ms=itertools.count(1000).__next__)
    create_database(database)
    return database


@pytest.fixture
def logged_models(database: Database) -> SqlLoggedModels:
    return SqlLoggedModels(database)


def point(model_id: str, name: str, value: float, *, step: int = 0, dataset: str = "") -> LoggedModelPoint:
    return LoggedModelPoint(
        model_id, name, value, step, 5000 + step, "0a1b2c", dataset, f"{dataset}-1" if dataset else ""
    )


def log(database: Database, *points: LoggedModelPoint) -> None:
    with database.write() as connection:
        insert_points(connection, points)


class TestModel:
    def test_a_new_model_is_pending_and_has_what_it_was_given(self, logged_models: SqlLoggedModels) -> None:
        created = logged_models.create(
            "0", name="tree", source_run_id="0a1b2c", model_type="agent", params={"depth": "3"}, tags={"k": "v"}
        )
        assert logged_models.get(created.model_id) == created
        assert re.fullmatch("m-[0-9a-f]{32}", created.model_id)
        assert (created.experiment_id, created.name, created.status) == ("0", "tree", "PENDING")
        assert (created.source_run_id, created.model_type) == ("0a1b2c", "agent")
        assert (created.params, created.tags, created.metrics) == ({"depth": "3"}, {"k": "v"}, [])
        assert created.artifact_location is None
        assert created.created_ms == created.updated_ms

    def test_a_name_is_made_up_where_none_is_given(self, logged_models: SqlLoggedModels) -> None:
        assert re.fullmatch(r"[a-z]+-[a-z]+-\d+", logged_models.create("0").name)

    @pytest.mark.parametrize("name", ["", "a/b", "a:b", "a.b", "100%", "'a'", '"a"'])
    def test_a_bad_name_is_refused(self, logged_models: SqlLoggedModels, name: str) -> None:
        with pytest.raises(InvalidValue, match="logged model name"):
            logged_models.create("0", name=name)

    def test_two_models_may_have_one_name(self, logged_models: SqlLoggedModels) -> None:
        assert logged_models.create("0", name="tree").model_id != logged_models.create("0", name="tree").model_id

    def test_its_files_are_where_its_experiment_keeps_them(
        self, database: Database, logged_models: SqlLoggedModels
    ) -> None:
        experiment = SqlExperiments(database).create("remote", artifact_location="s3://bucket/here/")
        created = logged_models.create(experiment)
        assert created.artifact_location == f"s3://bucket/here/models/{created.model_id}/artifacts"

    def test_it_needs_an_active_experiment(self, database: Database, logged_models: SqlLoggedModels) -> None:
        experiments = SqlExperiments(database)
        deleted = experiments.create("deleted")
        experiments.delete(deleted)
        with pytest.raises(Deleted, match="active"):
            logged_models.create(deleted)
        with pytest.raises(NotFound, match="Experiment '99'"):
            logged_models.create("99")
        with pytest.raises(InvalidValue, match="experiment_id"):
            logged_models.create("one")

    def test_it_is_finalized_as_ready_or_failed(self, logged_models: SqlLoggedModels) -> None:
        model_id = logged_models.create("0").model_id
        for status in ("FAILED", "READY"):
            changed = logged_models.finalize(model_id, status)
            assert changed.status == logged_models.get(model_id).status == status
            assert changed.updated_ms > changed.created_ms
        with pytest.raises(InvalidValue, match="'PENDING' for status: a logged model is finalized as READY or FAILED"):
            logged_models.finalize(model_id, "PENDING")

    def test_a_deleted_model_is_found_only_by_who_allows_it(self, logged_models: SqlLoggedModels) -> None:
        model_id = logged_models.create("0").model_id
        logged_models.delete(model_id)
        with pytest.raises(NotFound, match=f"Logged model '{model_id}' not found. It is deleted"):
            logged_models.get(model_id)
        assert logged_models.get(model_id, allow_deleted=True).deleted_ms is not None
        assert logged_models.search(["0"]).items == []

    def test_an_unknown_model_is_not_found(self, logged_models: SqlLoggedModels) -> None:
        for call in (
            lambda: logged_models.get("m-1"),
            lambda: logged_models.finalize("m-1", "READY"),
            lambda: logged_models.add_params("m-1", {"k": "v"}),
            lambda: logged_models.set_tags("m-1", {"k": "v"}),
            lambda: logged_models.delete_tag("m-1", "k"),
            lambda: logged_models.delete("m-1"),
        ):
            with pytest.raises(NotFound, match="Logged model 'm-1' not found"):
                call()


class TestParamsAndTags:
    def test_a_param_is_added_once(self, logged_models: SqlLoggedModels) -> None:
        model_id = logged_models.create("0", params={"depth": "3"}).model_id
        logged_models.add_params(model_id, {"leaves": "9"})
        with pytest.raises(AlreadyExists, match=f"Param 'depth' already exists. Logged model {model_id} has it with"):
            logged_models.add_params(model_id, {"new": "1", "depth": "4"})
        assert logged_models.get(model_id).params == {"depth": "3", "leaves": "9"}

    def test_tags_are_set_changed_and_deleted(self, logged_models: SqlLoggedModels) -> None:
        model_id = logged_models.create("0", tags={"a": "1", "b": "2"}).model_id
        logged_models.set_tags(model_id, {"a": "new", "c": "3"})
        logged_models.set_tags(model_id, {})
        logged_models.delete_tag(model_id, "b")
        assert logged_models.get(model_id).tags == {"a": "new", "c": "3"}
        with pytest.raises(NotFound, match="Tag 'b' not found"):
            logged_models.delete_tag(model_id, "b")

    @pytest.mark.parametrize("values", [{"": "v"}, {"k" * 256: "v"}, {"k": None}, {"k": 1}, {1: "v"}])
    def test_a_bad_param_or_tag_is_refused(self, logged_models: SqlLoggedModels, values: dict[str, str]) -> None:
        with pytest.raises(InvalidValue, match="param"):
            logged_models.create("0", params=values)
        with pytest.raises(InvalidValue, match="tag"):
            logged_models.create("0", tags=values)
        assert logged_models.search(["0"]).items == []

    def test_values_may_be_long_and_names_as_mlflow_takes_them(self, logged_models: SqlLoggedModels) -> None:
        params = {"layers[0].units (first)": "x" * 200_000}
        assert logged_models.create("0", params=params).params == params


class TestMetrics:
    def test_points_come_back_by_name_and_time(self, database: Database, logged_models: SqlLoggedModels) -> None:
        model_id = logged_models.create("0").model_id
        points = [
            point(model_id, "auc", 0.9, step=1, dataset="test"),
            point(model_id, "loss", 0.5, step=0),
            point(model_id, "loss", 0.25, step=1),
        ]
        log(database, *reversed(points))
        assert logged_models.get(model_id).metrics == points

    def test_the_same_point_is_kept_once(self, database: Database, logged_models: SqlLoggedModels) -> None:
        model_id = logged_models.create("0").model_id
        log(database, point(model_id, "loss", 0.5), point(model_id, "loss", 0.5))
        log(database, point(model_id, "loss", 0.5), point(model_id, "loss", 0.5, dataset="test"))
        assert [found.dataset_name for found in logged_models.get(model_id).metrics] == ["", "test"]

    def test_nan_and_infinities_are_kept(self, database: Database, logged_models: SqlLoggedModels) -> None:
        model_id = logged_models.create("0").model_id
        values = [math.nan, math.inf, -math.inf, 0.0]
        log(database, *[point(model_id, "loss", value, step=step) for step, value in enumerate(values)])
        found = [found.value for found in logged_models.get(model_id).metrics]
        assert math.isnan(found[0])
        assert found[1:] == values[1:]

    def test_a_point_of_an_unknown_model_leaves_nothing_behind(
        self, database: Database, logged_models: SqlLoggedModels
    ) -> None:
        model_id = logged_models.create("0").model_id
        with pytest.raises(NotFound, match="Logged model 'm-1' not found"):
            log(database, point(model_id, "loss", 0.5), point("m-1", "loss", 0.5))
        assert logged_models.get(model_id).metrics == []

    def test_a_bad_point_is_refused(self, database: Database, logged_models: SqlLoggedModels) -> None:
        model_id = logged_models.create("0").model_id
        with pytest.raises(InvalidValue, match="metric"):
            log(database, point(model_id, "a\nb", 0.5))
        with pytest.raises(InvalidValue, match="'high' for metric 'loss'"):
            log(database, point(model_id, "loss", "high"))  # type: ignore[arg-type]


class TestSearch:
    def test_the_newest_comes_first_and_pages_follow_each_other(self, logged_models: SqlLoggedModels) -> None:
        created = [logged_models.create("0") for _ in range(5)]
        first = logged_models.search(["0"], max_results=3)
        rest = logged_models.search(["0"], max_results=3, page_token=first.next_token)
        assert first.items + rest.items == created[::-1]
        assert rest.next_token is None

    def test_only_the_experiments_asked_for_are_searched(
        self, database: Database, logged_models: SqlLoggedModels
    ) -> None:
        other = SqlExperiments(database).create("other")
        inside, outside = logged_models.create("0"), logged_models.create(other)
        assert logged_models.search(["0"]).items == [inside]
        assert logged_models.search(["0", other]).items == [outside, inside]
        assert logged_models.search([]).items == []

    def test_models_are_found_by_what_they_have(self, database: Database, logged_models: SqlLoggedModels) -> None:
        small = logged_models.create("0", name="small", params={"depth": "3"}, tags={"k": "v"})
        large = logged_models.create("0", name="large", params={"depth": "9"})
        log(
            database,
            point(small.model_id, "loss", 0.5, dataset="train"),
            point(large.model_id, "loss", 0.25, dataset="test"),
        )

        def names(filter: str | None = None, datasets: list[tuple[str, str | None]] | None = None) -> list[str]:
            read = grammars.LOGGED_MODELS.parse(filter)
            return [found.name for found in logged_models.search(["0"], filter=read, datasets=datasets or []).items]

        assert names("name = 'small'") == ["small"]
        assert names("params.depth = '9'") == ["large"]
        assert names("tags.k = 'v'") == ["small"]
        assert names("metrics.loss < 0.3") == ["large"]
        assert names("metrics.loss > 0", [("train", "train-1")]) == ["small"]
        assert names(datasets=[("test", None)]) == ["large"]

    def test_they_can_be_ordered_by_a_metric(self, database: Database, logged_models: SqlLoggedModels) -> None:
        ids = [logged_models.create("0").model_id for _ in range(3)]
        log(database, *[point(model_id, "loss", value) for model_id, value in zip(ids, (2.0, 1.0, 3.0), strict=True)])
        found = logged_models.search(["0"], order_by=[OrderTerm("metrics.loss")]).items
        assert [model.metrics[0].value for model in found] == [1.0, 2.0, 3.0]
