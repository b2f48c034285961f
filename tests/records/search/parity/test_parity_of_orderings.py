"""The same records in MLflow's own SQL store and in ours: both order them the same way."""

from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from mlflow.exceptions import MlflowException

from mlflow_amlstore.errors import FilterInvalid, InvalidValue
from mlflow_amlstore.records.types import OrderTerm, View

ORDERINGS = {
    "runs": [
        [],
        ["metrics.m DESC"],
        ["metrics.m"],
        ["metrics.m asc", "metrics.n desc"],
        ["metrics.`val/acc` DESC", "params.p"],
        ['metrics."m m"'],
        ["metrics.none DESC"],
        ["params.p DESC", "tags.`my tag` ASC"],
        ["param.`my param`"],
        ["tag.a.b.c desc"],
        ["start_time ASC"],
        ["attribute.start_time DESC", "metrics.m"],
        ["created"],
        ["end_time"],
        ["attributes.end_time DESC", "run_id DESC"],
        ["status", "run_name DESC"],
        ["user_id DESC", "run_id"],
    ],
    "experiments": [
        [],
        ["name"],
        ["name DESC"],
        ["attribute.experiment_id"],
        ["last_update_time ASC"],
        ["creation_time DESC", "name"],
        ["name", "name DESC"],
    ],
    "models": [[], ["name DESC"], ["timestamp"], ["timestamp DESC", "name"], ["last_updated_timestamp", "name DESC"]],
    "versions": [
        [],
        ["name DESC"],
        ["version_number"],
        ["version_number DESC", "attribute.name DESC"],
        ["creation_timestamp"],
        ["last_updated_timestamp DESC"],
    ],
    "logged_models": [
        [],
        [OrderTerm("name"), OrderTerm("model_id", False)],
        [OrderTerm("creation_timestamp")],
        [OrderTerm("creation_time", False)],
        [OrderTerm("model_type", False), OrderTerm("last_updated_timestamp")],
        [OrderTerm("source_run_id")],
        [OrderTerm("metrics.acc")],
        [OrderTerm("metrics.acc", False), OrderTerm("metrics.loss")],
        [OrderTerm("metrics.acc", False, "iris")],
        [OrderTerm("metrics.acc", True, "iris", "d2"), OrderTerm("name", False)],
    ],
}

REFUSED_ORDERINGS = {
    "runs": [
        ["metrics.m DOWN"],
        ["foo.m"],
        ["name"],
        ["metrics.a/b"],
        ["`run name`"],
        ["dataset.name"],
        [""],
        ["m DESC x"],
    ],
    "experiments": [["tags.team"], ["foo"], ["attributes.name"]],
    "models": [["attribute.name"], ["creation_timestamp"], ["tags.t"]],
    "versions": [["run_id"], ["source_path"], ["foo DESC"]],
    "logged_models": [[OrderTerm("params.p")], [OrderTerm("foo")]],
}


def _pairs(table: dict[str, list[Any]]) -> list[Any]:
    return [
        pytest.param(resource, case, id=f"{resource}: {case}") for resource, cases in table.items() for case in cases
    ]


@pytest.mark.parametrize(("resource", "order_by"), _pairs(ORDERINGS))
def test_an_ordering_is_mlflows_and_its_pages_make_up_the_whole(
    twin: SimpleNamespace, resource: str, order_by: Any
) -> None:
    expected = twin.mlflow(resource, None, order_by)

    assert len(expected) > 7
    assert twin.ours(resource, None, order_by) == expected
    assert twin.by_pages(resource, None, order_by) == expected


@pytest.mark.parametrize(("resource", "order_by"), _pairs(REFUSED_ORDERINGS))
def test_an_ordering_that_mlflow_refuses_is_refused(twin: SimpleNamespace, resource: str, order_by: Any) -> None:
    with pytest.raises((MlflowException, IndexError)):  # MLflow has no answer to ""
        twin.mlflow(resource, None, order_by)
    with pytest.raises(FilterInvalid):
        twin.ours(resource, None, order_by)


@pytest.mark.parametrize(
    ("resource", "order_by"),
    [
        ("runs", ["metrics.m", "metric.m DESC"]),
        ("runs", ["start_time", "created"]),
        ("models", ["timestamp", "last_updated_timestamp"]),
        ("versions", ["name", "name DESC"]),
    ],
)
def test_a_name_given_twice_in_an_ordering_is_refused(
    twin: SimpleNamespace, resource: str, order_by: list[str]
) -> None:
    with pytest.raises(MlflowException, match="duplicate fields"):
        twin.mlflow(resource, None, order_by)
    with pytest.raises(InvalidValue, match="twice"):
        twin.ours(resource, None, order_by)


@pytest.mark.parametrize("view", View)
@pytest.mark.parametrize("resource", ["runs", "experiments"])
def test_views_are_mlflows(twin: SimpleNamespace, resource: str, view: View) -> None:
    expected = twin.mlflow(resource, view=view)

    assert expected
    assert twin.ours(resource, view=view) == expected


_numbers = st.sampled_from(["0", "0.5", "1", "-2.5e-3", "7", "1e300", "-1"])
_texts = st.sampled_from(["'x'", '"adam"', "'A%'", "'%a_b'", "''", '"it\'s"', "'zzz'"])
_metric = st.builds(
    "{} {} {}".format,
    st.sampled_from(["metrics.m", "metric.n", "metrics.`val/acc`", 'metrics."m m"']),
    st.sampled_from(["<", "<=", ">", ">=", "=", "!="]),
    _numbers,
)
_text = st.builds(
    "{} {} {}".format,
    st.sampled_from(["params.p", "param.`my param`", "tags.t", "tag.a.b.c", "status", "run_name", "dataset.name"]),
    st.sampled_from(["=", "!=", "LIKE", "ILIKE", "like"]),
    _texts,
)
_null = st.sampled_from(["params.q IS NULL", "tags.`my tag` is not null", "start_time >= 1004", "end_time < 2001"])
_filters = st.lists(st.one_of(_metric, _text, _null), max_size=3).map(" AND ".join)
_orderings = st.lists(
    st.tuples(
        st.sampled_from(
            ["metrics.m", "metrics.n", "params.p", "tags.t", "status", "end_time", "start_time", "run_name"]
        ),
        st.sampled_from(["", " ASC", " DESC"]),
    ),
    max_size=3,
    unique_by=lambda pair: pair[0],
).map(lambda pairs: [name + direction for name, direction in pairs])


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(filter=_filters, order_by=_orderings)
def test_any_filter_and_ordering_of_runs_together(twin: SimpleNamespace, filter: str, order_by: list[str]) -> None:
    expected = twin.mlflow("runs", filter, order_by)

    assert twin.ours("runs", filter, order_by) == expected
    assert twin.by_pages("runs", filter, order_by) == expected
