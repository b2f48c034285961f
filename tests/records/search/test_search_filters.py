"""What filters mean where records say more than MLflow's do, and what a bad one is answered with."""

import contextlib
import math
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mlflow_amlstore.errors import FilterInvalid, InvalidValue
from mlflow_amlstore.records import tables
from mlflow_amlstore.records.search import grammars
from mlflow_amlstore.records.search.filter import NO_FILTER
from mlflow_amlstore.records.search.lexer import tokens
from mlflow_amlstore.records.status import MLFLOW_STATUS, status_from_mlflow
from mlflow_amlstore.records.types import OrderTerm, RunStatus


def test_a_status_is_asked_for_in_mlflows_words(records: Any) -> None:
    for status in RunStatus:
        records.add_run(status.value, status=status.value)

    assert set(records.search("runs", "status = 'RUNNING'")) == {"Running", "CancelRequested", "Finalizing"}
    assert set(records.search("runs", "status = 'SCHEDULED'")) == {"NotStarted", "Queued", "Preparing", "Starting"}
    assert set(records.search("runs", "status LIKE 'F%'")) == {"Completed", "Failed"}
    assert records.search("runs", "status = 'KILLED'") == ["Canceled"]
    assert records.search("runs", "status = 'Canceled'") == []
    assert records.search("runs", order_by=["status"])[:2] == ["Failed", "Completed"]


def test_every_status_has_a_word_of_mlflows_and_every_word_a_status() -> None:
    assert set(MLFLOW_STATUS) == set(RunStatus)
    assert {MLFLOW_STATUS[status_from_mlflow(word)] for word in MLFLOW_STATUS.values()} == set(MLFLOW_STATUS.values())
    with pytest.raises(InvalidValue, match="'Running' for run status: must be one of SCHEDULED, RUNNING"):
        status_from_mlflow("Running")


def test_nan_is_unequal_to_everything_and_comes_after_all_numbers(records: Any) -> None:
    for run_id, value in {"two": 2.0, "nan": math.nan, "inf": math.inf, "-inf": -math.inf, "zero": 0.0}.items():
        records.add_run(run_id, metrics={"m": value})
    records.add_run("none")

    assert set(records.search("runs", "metrics.m != 2")) == {"nan", "inf", "-inf", "zero"}
    assert records.search("runs", "metrics.m = 0") == ["zero"]
    assert set(records.search("runs", "metrics.m < 1e308")) == {"-inf", "zero", "two"}
    assert records.search("runs", order_by=["metrics.m"]) == ["-inf", "zero", "two", "inf", "nan", "none"]
    assert records.search("runs", order_by=["metrics.m DESC"]) == ["inf", "two", "zero", "-inf", "nan", "none"]
    assert records.search("runs", "metrics.m != 2", ["metrics.m"]) == ["-inf", "zero", "inf", "nan"]


def test_a_series_of_texts_is_no_metric(records: Any) -> None:
    run_pk = records.add_run("texts")
    records.add_series(run_pk, "m", 0.0, tables.TEXT)
    records.add_run("numbers", metrics={"m": 1})

    assert records.search("runs", "metrics.m != 5") == ["numbers"]
    assert records.search("runs", "metrics.m <= 0") == []
    assert records.search("runs", order_by=["metrics.m"]) == ["numbers", "texts"]


def test_runs_that_never_started_come_last_in_both_directions(records: Any) -> None:
    for run_id, start_ms in (("a", 1), ("b", None), ("c", 3), ("d", None)):
        records.add_run(run_id, start_ms=start_ms)

    assert records.search("runs") == ["c", "a", "b", "d"]
    assert records.search("runs", order_by=["start_time DESC"]) == ["c", "a", "b", "d"]
    assert records.search("runs", order_by=["start_time ASC"]) == ["a", "c", "b", "d"]


def test_an_artifact_uri_is_asked_for_without_the_workspaces_root(records: Any) -> None:
    records.add_run("abc")
    records.add_run("abd")

    assert records.search("runs", "artifact_uri = '0/abc/artifacts'") == ["abc"]
    assert records.search("runs", "artifact_uri LIKE '%/abd/%'") == ["abd"]


def test_runs_are_searched_in_thousands_of_experiments_at_once(records: Any) -> None:
    other = records.add_experiment("other")
    records.add_run("here", experiment_id=other)
    records.add_run("there")

    assert records.search("runs", "params.p IS NULL", experiment_keys=[*range(other, 40_000)]) == ["here"]
    assert records.search("runs", experiment_keys=[]) == []


def test_a_number_too_long_for_the_database_compares_as_what_it_is(records: Any) -> None:
    records.add_run("run", start_ms=5, metrics={"m": 5})

    assert records.search("runs", f"start_time < {10**30} AND metrics.m > -{10**30}") == ["run"]
    assert records.search("runs", f"start_time > {10**30}") == []
    assert records.search("experiments", f"experiment_id = '{10**30}'") == []


def test_keywords_are_case_insensitive_everywhere(records: Any) -> None:
    records.add_experiment("vision")

    assert records.search("experiments", "name like 'vis%' and experiment_id not in ('0')") == ["vision"]
    assert records.search("experiments", "name iLike 'VIS%'", ["name desc"]) == ["vision"]


def test_a_prompt_is_found_only_by_its_tag(records: Any) -> None:
    prompt = records.add_model("greeting", tags={"mlflow.prompt.is_prompt": "true"})
    records.add_version(prompt, 1, tags={"mlflow.prompt.is_prompt": "true"})
    records.add_version(prompt, 2)
    model = records.add_model("classifier")
    records.add_version(model, 1)
    records.add_version(model, 2, deleted_ms=5)

    assert records.search("models") == ["classifier"]
    assert records.search("models", "name = 'greeting'") == []
    assert records.search("models", "tags.`mlflow.prompt.is_prompt` = 'true'") == ["greeting"]
    assert records.search("versions") == [("classifier", 1)]
    assert records.search("versions", "tags.`mlflow.prompt.is_prompt` = 'true'") == [("greeting", 1)]


def test_a_logged_model_is_ordered_by_its_latest_point_of_a_metric(records: Any) -> None:
    old, new = {"name": "acc", "timestamp_ms": 1}, {"name": "acc", "timestamp_ms": 2}
    records.add_logged_model("m-falling", points=[{**old, "value": 0.9}, {**new, "value": 0.1}])
    records.add_logged_model("m-rising", points=[{**old, "value": 0.1}, {**new, "value": 0.8}])
    records.add_logged_model("m-nan", points=[{**new, "value": math.nan}])
    records.add_logged_model("m-none")

    assert records.search("logged_models", "metrics.acc > 0.5") == ["m-falling", "m-rising"]
    assert records.search("logged_models", "metrics.acc = 0") == []
    by_accuracy = [OrderTerm("metrics.acc", is_ascending=False)]
    assert records.search("logged_models", None, by_accuracy) == ["m-rising", "m-falling", "m-nan", "m-none"]
    assert records.search_by_pages("logged_models", 1, order_by=by_accuracy) == [
        "m-rising",
        "m-falling",
        "m-nan",
        "m-none",
    ]


def test_a_logged_models_status_is_a_word(records: Any) -> None:
    records.add_logged_model("m-1", status="READY")
    records.add_logged_model("m-2", status="FAILED")

    assert records.search("logged_models", "status = 'READY'") == ["m-1"]
    assert records.search("logged_models", "attributes.artifact_location LIKE '0/models/m-2/%'") == ["m-2"]


def test_a_dataset_without_a_name_is_refused(records: Any) -> None:
    with pytest.raises(InvalidValue, match="each must have a dataset_name"):
        records.search("logged_models", datasets=[("", "digest")])


def test_a_search_takes_sixty_names_and_says_so_beyond(records: Any) -> None:
    filters = [f"params.p{number} = 'x'" for number in range(61)]

    assert records.search("runs", " AND ".join(filters[:60])) == []
    with pytest.raises(InvalidValue, match="at most 60"):
        records.search("runs", " AND ".join(filters))


@pytest.mark.parametrize(
    ("resource", "limit"), [("runs", 50_000), ("experiments", 50_000), ("models", 1000), ("versions", 200_000)]
)
def test_a_page_has_mlflows_size_limit(records: Any, resource: str, limit: int) -> None:
    assert records.search(resource, max_results=limit) is not None
    for too_much, rule in (
        (limit + 1, f"must be at most {limit}"),
        (0, "positive"),
        (-1, "positive"),
        (1.5, "positive"),
    ):
        with pytest.raises(InvalidValue, match=rule):
            records.search(resource, max_results=too_much)


def test_a_page_of_no_given_size_has_all_runs_but_only_a_hundred_logged_models(records: Any) -> None:
    for number in range(101):
        records.add_logged_model(f"m-{number}")
        records.add_run(f"r{number}")

    assert len(records.search("runs", max_results=None)) == 101
    assert len(records.page("logged_models", max_results=None)[0]) == 100
    assert len(records.page("logged_models", max_results=0)[0]) == 100


def test_a_refusal_shows_where(records: Any) -> None:
    with pytest.raises(FilterInvalid) as refused:
        records.search("runs", "metrics.m > 1 AND params.p > 'x'")

    assert str(refused.value).splitlines() == [
        "Invalid search expression at '>', position 27: param 'p' can be compared by =, !=, LIKE, ILIKE, IS NULL, "
        "IS NOT NULL, not by >",
        "  metrics.m > 1 AND params.p > 'x'",
        "                             ^",
    ]


def without_root(text: str) -> str:
    return text.removeprefix("amlstore:///me/")


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("artifact_uri = 'amlstore:///me/0/abc'", ["0/abc"]),
        ("run.artifact_uri LIKE 'amlstore:///me/0/%' AND params.a = 'amlstore:///me/0'", ["0/%", "amlstore:///me/0"]),
        ("`artifact_uri` != 'amlstore:///me/0'", ["0"]),
        ('"artifact_uri" = "amlstore:///me/0"', ["0"]),
        ("artifact_uri = 'amlstore:///me2/0'", ["amlstore:///me2/0"]),
        ("params.artifact_uri = 'amlstore:///me/0'", ["amlstore:///me/0"]),
        ("params.a = \"artifact_uri = 'amlstore:///me/0'\"", ["artifact_uri = 'amlstore:///me/0'"]),
        ("metrics.m > 1 AND params.p IS NULL", [1, None]),
    ],
)
def test_the_values_of_one_attribute_can_be_changed(text: str, values: list[object]) -> None:
    changed = grammars.RUNS.parse(text).with_values("artifact_uri", without_root)
    assert [comparison.value for comparison in changed.comparisons] == values
    assert changed.text == text


def test_each_value_of_a_list_is_changed() -> None:
    text = "artifact_location NOT IN ('amlstore:///me/0', \"amlstore:///me/1\", 's3://x')"
    (comparison,) = grammars.LOGGED_MODELS.parse(text).with_values("artifact_location", without_root).comparisons
    assert comparison.value == ("0", "1", "s3://x")


@pytest.mark.parametrize("text", [None, ""])
def test_no_text_is_no_filter(text: str | None) -> None:
    assert grammars.RUNS.parse(text).with_values("artifact_uri", without_root) == NO_FILTER


@pytest.mark.parametrize("name", ["params.`a`", 'params."a"', "params.'a'", "`run_id`", '"run_id"'])
def test_a_name_in_quotes_is_known_as_one(name: str) -> None:
    quoted, plain = grammars.RUNS.parse(f"{name} = 'x' AND tags.a.b = \"like.`this`\"").comparisons
    assert (quoted.is_quoted, plain.is_quoted) == (True, False)


NAMES = ["metrics.m", "params.`a b`", "tags", "run_id", "status", "experiment_id", "version_number", "name"]
KEYWORDS = ["IN", "NOT", "IS", "NULL", "AND", "OR", "LIKE", "DESC", "=", "!=", "<", "(", ")", ",", "."]
VALUES = ["'x'", '"y"', "'", '"', "`", "1", "'1'", "-1e9999", "1.", "\0", "\ud800"]
PIECES = [*NAMES, *KEYWORDS, *VALUES]


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(text=st.one_of(st.text(max_size=30), st.lists(st.sampled_from(PIECES), max_size=9).map(" ".join)))
@pytest.mark.parametrize("resource", ["runs", "experiments", "models", "versions", "logged_models"])
def test_whatever_a_filter_or_ordering_says_it_is_searched_or_refused(records: Any, resource: str, text: str) -> None:
    for arguments in ({"filter": text}, {"order_by": [text]}):
        with contextlib.suppress(FilterInvalid):
            records.search(resource, **arguments)


def test_a_long_hostile_filter_is_cut_into_tokens_in_no_time() -> None:
    assert len(tokens("params.p = '" + "\\'" * 20_000 + "'")) == 4
    with pytest.raises(FilterInvalid, match="never closed"):
        tokens('params.p = "' + '""' * 20_000)
