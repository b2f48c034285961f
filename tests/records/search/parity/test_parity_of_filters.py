"""The same records in MLflow's own SQL store and in ours: a filter finds the same, or both refuse it."""

from types import SimpleNamespace
from typing import Any

import pytest
from mlflow.exceptions import MlflowException

from mlflow_amlstore.errors import FilterInvalid

ACCEPTED = {
    "runs": [
        "metrics.m > 0.5",
        "metric.m >= 1 AND metrics.n < 8",
        "metrics.m != 1",
        "metrics.m = 0",
        "metrics.m != 0",
        "metrics.m < 0",
        "metrics.m > -1e-1 and metrics.m<=.5",
        "metrics.m > 1e308",
        "metrics.m < -1.5e300",
        "metrics.`val/acc` > 0",
        'metrics."val/acc" > 0',
        "metrics.`m m` >= 5.",
        "metrics.none > 0",
        "metrics.none != 0",
        "params.p = 'adam'",
        'param.p = "adam"',
        "parameter.p != 'adam'",
        "parameters.p LIKE 'a%'",
        "params.p ILIKE 'A_B'",
        "params.p like 'Adam'",
        "params.p LIKE '%%'",
        "params.p = ''",
        'params.p = "it\'s"',
        "params.p = 'say \"so\"'",
        "params.p = 'back\\slash'",
        "params.p ILIKE 'ÜMLAUT'",
        "params.`my param` != 'x'",
        "params.'my param' = 'x'",
        "params.`a/b` = '10'",
        "params.p IS NULL",
        "params.p is not null",
        "params.p IS NULL AND params.p = 'x'",
        "tags.`my tag` IS NOT NULL and tags.t IS NULL",
        "tag.t = 'x'",
        "tags.a.b.c = 'x'",
        "tags.mlflow.user = 'x'",
        "`tags`.t != 'x'",
        "attribute.status = 'FINISHED'",
        "status != 'FINISHED'",
        "run.status LIKE '%I%'",
        "attr.status ilike 'failed'",
        "status = 'Completed'",
        "start_time > 1005",
        "created >= 1003.5",
        "attributes.Created != 1004",
        "end_time = 2000",
        "attributes.end_time != 2000",
        "run_name = 'quick run'",
        "`run name` LIKE 'run%'",
        "\"Run Name\" ILIKE 'QUICK%'",
        "attribute.`Run name` != 'slow-run'",
        "user_id = 'ann'",
        "user_id ILIKE 'BOB'",
        "run_id IN ('a','b')",
        "run_id NOT IN ('a', \"b\",)",
        "attribute.run_id not in ('a')",
        "run_id != 'a'",
        "run_id LIKE '%1%'",
        "dataset.name = 'iris'",
        "datasets.name != 'iris'",
        "dataset.name ILIKE 'IRIS'",
        "dataset.name IN ('iris', 'mnist') and dataset.digest = 'd1'",
        "dataset.name NOT IN ('iris')",
        "dataset.digest LIKE 'd%'",
        "dataset.context = 'train'",
        "dataset.context != 'train'",
        "metrics.m>0.5 AND params.p='x'",
        "params.p = 'x'AND params.q!='y'",
        "params.p = 'x' params.q != 'y'",
        "AND params.p = 'x' AND AND params.q != 'y' AND",
        "\n metrics.m > 0.5\n\tAND   params.p != 'x' ",
        "",
    ],
    "experiments": [
        "name LIKE 'a%'",
        "name = 'Default'",
        "attribute.name != 'Default'",
        "name ILIKE 'ADAM%'",
        "experiment_id = '3'",
        "experiment_id != '3'",
        "experiment_id IN ('1', '2')",
        "attribute.experiment_id NOT IN ('1')",
        "creation_time > 0",
        "last_update_time <= 5",
        "tags.team = 'x'",
        "tag.`my tag` != 'x'",
        "tags.a.b LIKE '%a%'",
        "tags.team IS NULL",
        "tags.team IS NOT NULL AND name LIKE '%-%'",
    ],
    "models": [
        "name = 'cat 1'",
        "name LIKE 'cat%'",
        "name ilike 'CAT%'",
        "attribute.name IN ('cat 1', 'dog 2', 'Cat 3')",
        "name NOT IN ('cat 1')",
        "tags.t = 'x'",
        "tag.`my tag` != 'x' and tags.t LIKE '%a%'",
        "tags.t != 'x' and tags.t != 'adam'",
        "tags.`mlflow.prompt.is_prompt` = 'true'",
        "tags.`mlflow.prompt.is_prompt` != 'false'",
        "tags.`mlflow.prompt.is_prompt` = 'false'",
        "tags.`mlflow.prompt.is_prompt` != 'true' AND name LIKE 'cat%'",
        "tags.`mlflow.prompt.is_prompt` = 'TRUE'",
        "tags.`mlflow.prompt.is_prompt` = 'true' and tags.t != 'x'",
    ],
    "versions": [
        "name = 'cat 1'",
        "name LIKE 'c%' AND version_number > 1",
        "version_number = '2'",
        "version_number != 1",
        "version_number <= 1 and run_id = 'r1'",
        "run_id IN ('r1', 'r2')",
        "run_id NOT IN ('r1')",
        "run_id != 'r1'",
        "source_path = 's3://b/M'",
        "source_path ILIKE 'S3://%'",
        "tags.t = 'x'",
        "tags.`my tag` LIKE '%a%' AND tags.t != ''",
        "tags.`mlflow.prompt.is_prompt` = 'true'",
        "tags.`mlflow.prompt.is_prompt` = 'false' and name != 'x'",
    ],
    "logged_models": [
        "name = 'alpha'",
        "attributes.name != 'alpha'",
        "name ilike 'BETA' AND model_type = 'keras'",
        "name IN ('alpha', 'Beta')",
        "name NOT IN ('alpha')",
        "model_type != 'keras'",
        "source_run_id LIKE '%'",
        "experiment_id = '1'",
        "experiment_id IN ('1', '2')",
        "lifecycle_stage = 'active'",
        "creation_timestamp > 0",
        "creation_time > 99999999999999",
        "last_updated_timestamp_ms >= 5",
        "metrics.acc > 0.5",
        "metrics.acc = 1 AND metrics.loss < 5",
        "metrics.acc != 1",
        "metrics.acc > inf",
        "params.p = 'x'",
        "params.p = 10",
        "params.p = adam",
        "params.p != 'x' AND tags.`my tag` LIKE 'a%'",
        "tags.t IN ('x', 'adam')",
    ],
}

REFUSED = {
    "runs": [
        ("   ", ""),
        ("metrics.m", ""),
        ("metrics.m >", ""),
        ("metrics.m > 'x'", "'x'"),
        ("metrics.m > abc", "abc"),
        ("metrics.m > 1_000", "1_000"),
        ("metrics.m > - 1", "-"),
        ("metrics.m LIKE 'x'", "LIKE"),
        ("metrics.m == 1", "=="),
        ("metrics.m IN (1)", "IN"),
        ("metrics.m IS NULL", "IS"),
        ("metrics.m BETWEEN 1 AND 2", "BETWEEN"),
        ("METRICS.m > 1", "METRICS.m"),
        ("foo.m > 1", "foo.m"),
        ("metrics.a-b > 1", "-"),
        ("metrics.a/b > 1", "/"),
        ("params.p = x", "x"),
        ("params.p = 1", "1"),
        ("params.p = `x`", "`x`"),
        ("params.p > 'x'", ">"),
        ("params.p <> 'x'", "<>"),
        ("params.p NOT LIKE 'x'", "NOT"),
        ("params.p IN ('x')", "IN"),
        ("params.p = 'x", "'"),
        ("params.p = 'x' OR params.q = 'y'", "OR"),
        ("NOT params.p = 'x'", "NOT"),
        ("(params.p = 'x')", "("),
        ("params.p = 'x';", ";"),
        ("'x' = params.p", "'x'"),
        ("params.p = params.q", "params.q"),
        ("name = 'x'", "name"),
        ("attribute.foo = 'x'", "attribute.foo"),
        ("status > 'RUNNING'", ">"),
        ("status IN ('RUNNING')", "IN"),
        ("status IS NULL", "IS"),
        ("start_time = '1000'", "'1000'"),
        ("start_time LIKE 1000", "LIKE"),
        ("run_id IN ()", ")"),
        ("run_id IN (1)", "1"),
        ("run_id IN 'a'", "'a'"),
        ("run_id IN ('a', 'b'", ""),
        ("dataset.source = 'x'", "dataset.source"),
        ("dataset.name > 'x'", ">"),
        ("dataset.name IS NULL", "IS"),
    ],
    "experiments": [
        ("experiment_id = 3", "3"),
        ("experiment_id = 'three'", "'three'"),
        ("experiment_id > '3'", ">"),
        ("name > 'x'", ">"),
        ("name IN ('x')", "IN"),
        ("name IS NULL", "IS"),
        ("creation_time = '5'", "'5'"),
        ("creation_time = 5.5", "5.5"),
        ("attributes.name = 'x'", "attributes.name"),
        ("params.name = 'x'", "params.name"),
        ("lifecycle_stage = 'active'", "lifecycle_stage"),
        ("tags.team > 'x'", ">"),
        ("tags.team = x", "x"),
    ],
    "models": [
        ("version = 1", "version"),
        ("name > 'x'", ">"),
        ("name = x", "x"),
        ("name = 1", "1"),
        ("params.x = 'x'", "params.x"),
        ("attr.name = 'x'", "attr.name"),
        ("tags.t > 'x'", ">"),
        ("tags.t = 1", "1"),
        ("name = 'x' OR name = 'y'", "OR"),
    ],
    "versions": [
        ("version_number LIKE '1'", "LIKE"),
        ("version_number = 1.5", "1.5"),
        ("version_number = 'one'", "'one'"),
        ("version_number IN ('1')", "IN"),
        ("source_path IN ('s')", "IN"),
        ("name = 5", "5"),
        ("creation_timestamp > 0", "creation_timestamp"),
        ("metrics.m > 0", "metrics.m"),
    ],
    "logged_models": [
        ("metric.acc > 1", "metric.acc"),
        ("metrics.acc LIKE 1", "LIKE"),
        ("params.p > 'x'", ">"),
        ("params.p IS NULL", "IS"),
        ("creation_time LIKE 'x'", "LIKE"),
        ("name = 'x' OR name = 'y'", "OR"),
    ],
}

DATASETS = [(), [("iris", None)], [("iris", "d2"), ("mnist", None)], [("none", None)]]


def _pairs(table: dict[str, list[Any]]) -> list[Any]:
    return [
        pytest.param(resource, case, id=f"{resource}: {case}") for resource, cases in table.items() for case in cases
    ]


@pytest.mark.parametrize(("resource", "filter"), _pairs(ACCEPTED))
def test_a_filter_finds_what_mlflow_finds(twin: SimpleNamespace, resource: str, filter: str) -> None:
    assert twin.ours(resource, filter) == twin.mlflow(resource, filter)


@pytest.mark.parametrize(("resource", "case"), _pairs(REFUSED))
def test_a_filter_that_mlflow_refuses_is_refused_and_the_token_named(
    twin: SimpleNamespace, resource: str, case: tuple[str, str]
) -> None:
    filter, token = case
    with pytest.raises(MlflowException):
        twin.mlflow(resource, filter)
    with pytest.raises(FilterInvalid) as refused:
        twin.ours(resource, filter)
    assert refused.value.token == token
    assert filter[refused.value.position :].startswith(token)
    assert f"  {filter}\n  {' ' * refused.value.position}^" in str(refused.value)


@pytest.mark.parametrize(
    "filter", [None, "metrics.acc > 0", "metrics.acc != 1 AND metrics.loss <= 7", "name LIKE '%a'"]
)
@pytest.mark.parametrize("datasets", DATASETS)
def test_datasets_narrow_metrics_of_logged_models_as_in_mlflow(
    twin: SimpleNamespace, filter: str | None, datasets: Any
) -> None:
    expected = twin.mlflow("logged_models", filter, datasets=datasets)

    assert twin.ours("logged_models", filter, datasets=datasets) == expected
