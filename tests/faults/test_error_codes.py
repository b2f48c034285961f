"""What MLflow's own SQL store refuses is refused here with the same error code, and where both take it, both take it.

Each call below is made through `MlflowClient` on both stores, each of which holds the same few things.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import mlflow.entities
import pytest
from mlflow import MlflowClient
from mlflow.entities import Metric, Param, RunStatus, RunTag
from mlflow.exceptions import MlflowException

from mlflow_amlstore.core import Workspace


@dataclass(frozen=True)
class Store:
    """What a store has: a run of this test's own; for all tests a deleted run, an active and a deleted experiment."""

    client: MlflowClient
    run_id: str
    deleted_run_id: str
    experiment_id: str
    deleted_experiment_id: str


@pytest.fixture(scope="module")
def reference_for_all(tmp_path_factory: pytest.TempPathFactory) -> Store:
    folder = tmp_path_factory.mktemp("mlflow")
    return _filled(MlflowClient(f"sqlite:///{folder}/mlflow.db"), f"{folder}/artifacts")


@pytest.fixture(scope="module")
def ours_for_all(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    workspace = Workspace.create(tmp_path_factory.mktemp("ws"))
    yield _filled(MlflowClient(workspace.get_mlflow_tracking_uri()), None)
    workspace.close()


@pytest.fixture
def reference(reference_for_all: Store) -> Store:
    return _with_new_run(reference_for_all)


@pytest.fixture
def ours(ours_for_all: Store) -> Store:
    return _with_new_run(ours_for_all)


def _filled(client: MlflowClient, location: str | None) -> Store:
    experiment_id = client.create_experiment("active", artifact_location=location)
    deleted_experiment_id = client.create_experiment("deleted", artifact_location=location)
    client.delete_experiment(deleted_experiment_id)
    deleted_run_id = client.create_run(experiment_id).info.run_id
    client.delete_run(deleted_run_id)
    return Store(client, "none yet", deleted_run_id, experiment_id, deleted_experiment_id)


def _with_new_run(store: Store) -> Store:
    run_id = store.client.create_run(store.experiment_id).info.run_id
    store.client.log_batch(run_id, [Metric("m", 1.0, NOW, 0)], [Param("p", "1")], [RunTag("t", "1")])
    return replace(store, run_id=run_id)


def _outcome(call: Callable[[Store], Any], store: Store) -> str:
    """The error code of what a call raises, the class of what isn't MLflow's (MlflowClient raises some), or "taken"."""
    try:
        call(store)
    except MlflowException as error:
        return str(error.error_code)
    except Exception as error:
        return type(error).__name__
    return "taken"


LONG_NAME = "n" * 251
NOW = 1_700_000_000_000


def _metrics(count: int) -> list[Metric]:
    return [Metric(f"m{number}", 1.0, NOW, 0) for number in range(count)]


def _params(count: int) -> list[Param]:
    return [Param(f"q{number}", "1") for number in range(count)]


def _tags(count: int) -> list[RunTag]:
    return [RunTag(f"u{number}", "1") for number in range(count)]


BAD_NAMES = [
    "",
    None,
    LONG_NAME,
    "a\nb",
    "a#b",
    "a\\b",
    "ü?",
    "/",
    "/a",
    "a/",
    "a//b",
    "../a",
    "a/../b",
    ".",
    "./a",
    1,
    "a\0b",
]
LEGAL_NAMES = ["a/b", "a.b", "a b", "a-b_c", "a:b", "n" * 250, "ünï", "日本"]
BAD_VALUES = [None, True, "x", "1.5", [1.0], 1j, {}, object()]
LEGAL_VALUES = [0, -1, 1e308, -0.0, float("nan"), float("inf"), float("-inf"), 2**70]
BAD_TIMES = [-1, "now", 1.5, True, 2**63, float("nan")]
BAD_STEPS = ["1", 1.5, True, 2**63, float("inf")]
BAD_RUN_IDS = ["unknown", "", "a" * 33, "../x", "a b", None, 5, "a" * 300, "ü"]
BAD_EXPERIMENT_IDS = ["999", "x", "", None, "-1", "1.5", "../1", "9" * 30]

CALLS: dict[str, Callable[[Store], Any]] = {
    # metrics
    **{f"metric named {name!r}": lambda s, n=name: s.client.log_metric(s.run_id, n, 1.0) for name in BAD_NAMES},
    **{f"legal metric {name[:9]!r}": lambda s, n=name: s.client.log_metric(s.run_id, n, 1.0) for name in LEGAL_NAMES},
    **{
        f"metric value {str(value)[:12]}": lambda s, v=value: s.client.log_metric(s.run_id, "x", v)
        for value in BAD_VALUES + LEGAL_VALUES
    },
    **{
        f"batch with metric value {str(value)[:12]}": lambda s, v=value: s.client.log_batch(
            s.run_id, [Metric("x", v, NOW, 0)]
        )
        for value in BAD_VALUES + LEGAL_VALUES
    },
    **{
        f"metric timestamp {value!r}": lambda s, v=value: s.client.log_metric(s.run_id, "x", 1.0, timestamp=v)
        for value in BAD_TIMES
    },
    **{
        f"metric step {value!r}": lambda s, v=value: s.client.log_metric(s.run_id, "x", 1.0, step=v)
        for value in BAD_STEPS
    },
    "metric of a deleted run": lambda s: s.client.log_metric(s.deleted_run_id, "x", 1.0),
    "metric twice the same": lambda s: [s.client.log_metric(s.run_id, "x", 1.0, timestamp=1, step=1) for _ in "12"],
    "history page token": lambda s: s.client._tracking_client.store.get_metric_history(
        s.run_id, "m", max_results=1, page_token="bad"
    ),
    "history of an unknown metric": lambda s: s.client.get_metric_history(s.run_id, "unknown"),
    "history of an unknown run": lambda s: s.client.get_metric_history("unknown", "m"),
    # params
    **{f"param named {name!r}": lambda s, n=name: s.client.log_param(s.run_id, n, "1") for name in BAD_NAMES},
    **{f"legal param {name[:9]!r}": lambda s, n=name: s.client.log_param(s.run_id, n, "1") for name in LEGAL_NAMES},
    "param changed": lambda s: s.client.log_param(s.run_id, "p", "2"),
    "param again": lambda s: s.client.log_param(s.run_id, "p", "1"),
    "param None": lambda s: s.client.log_param(s.run_id, "x", None),
    "param empty": lambda s: s.client.log_param(s.run_id, "x", ""),
    "param of 6000": lambda s: s.client.log_param(s.run_id, "x", "v" * 6000),
    "param too long, cut": lambda s: s.client.log_param(s.run_id, "x", "v" * 6001),
    "param of a deleted run": lambda s: s.client.log_param(s.deleted_run_id, "x", "1"),
    # tags
    **{f"tag named {name!r}": lambda s, n=name: s.client.set_tag(s.run_id, n, "1") for name in BAD_NAMES},
    **{f"legal tag {name[:9]!r}": lambda s, n=name: s.client.set_tag(s.run_id, n, "1") for name in LEGAL_NAMES},
    "tag None": lambda s: s.client.set_tag(s.run_id, "x", None),
    "tag of 8000": lambda s: s.client.set_tag(s.run_id, "x", "v" * 8000),
    "tag too long, cut": lambda s: s.client.set_tag(s.run_id, "x", "v" * 8001),
    "tag of a deleted run": lambda s: s.client.set_tag(s.deleted_run_id, "x", "1"),
    "deleting a tag": lambda s: s.client.delete_tag(s.run_id, "t"),
    "deleting a missing tag": lambda s: s.client.delete_tag(s.run_id, "missing"),
    "deleting a tag of a deleted run": lambda s: s.client.delete_tag(s.deleted_run_id, "t"),
    "deleting a tag of an unknown run": lambda s: s.client.delete_tag("unknown", "t"),
    # batches
    "1000 metrics": lambda s: s.client.log_batch(s.run_id, _metrics(1000)),
    "1001 metrics": lambda s: s.client._tracking_client.store.log_batch(s.run_id, _metrics(1001), [], []),
    "100 params": lambda s: s.client.log_batch(s.run_id, params=_params(100)),
    "101 params": lambda s: s.client._tracking_client.store.log_batch(s.run_id, [], _params(101), []),
    "100 tags": lambda s: s.client.log_batch(s.run_id, tags=_tags(100)),
    "101 tags": lambda s: s.client._tracking_client.store.log_batch(s.run_id, [], [], _tags(101)),
    "900 metrics, 100 params, 1 tag": lambda s: s.client._tracking_client.store.log_batch(
        s.run_id, _metrics(900), _params(100), _tags(1)
    ),
    "a param twice in a batch": lambda s: s.client.log_batch(s.run_id, params=[Param("x", "1"), Param("x", "2")]),
    "a param twice the same in a batch": lambda s: s.client.log_batch(s.run_id, params=[Param("x", "1")] * 2),
    "a tag twice in a batch": lambda s: s.client.log_batch(s.run_id, tags=[RunTag("x", "1"), RunTag("x", "2")]),
    "a param changed in a batch": lambda s: s.client.log_batch(s.run_id, params=[Param("p", "2")]),
    "a param too long in a batch": lambda s: s.client.log_batch(s.run_id, params=[Param("x", "v" * 6001)]),
    "a tag too long in a batch": lambda s: s.client.log_batch(s.run_id, tags=[RunTag("x", "v" * 8001)]),
    "a batch for a deleted run": lambda s: s.client.log_batch(s.deleted_run_id, _metrics(1)),
    "an empty batch for an unknown run": lambda s: s.client.log_batch("unknown"),
    "an empty batch for a deleted run": lambda s: s.client.log_batch(s.deleted_run_id),
    "a batch with a bad tag": lambda s: s.client.log_batch(s.run_id, _metrics(1), tags=[RunTag("a#b", "1")]),
    # run ids
    **{f"get_run {run_id!r:.12}": lambda s, r=run_id: s.client.get_run(r) for run_id in BAD_RUN_IDS},
    **{f"log_metric to {run_id!r:.12}": lambda s, r=run_id: s.client.log_metric(r, "x", 1.0) for run_id in BAD_RUN_IDS},
    **{f"log_param to {run_id!r:.12}": lambda s, r=run_id: s.client.log_param(r, "x", "1") for run_id in BAD_RUN_IDS},
    **{f"set_tag of {run_id!r:.12}": lambda s, r=run_id: s.client.set_tag(r, "x", "1") for run_id in BAD_RUN_IDS},
    **{
        f"log_batch to {run_id!r:.12}": lambda s, r=run_id: s.client.log_batch(r, _metrics(1)) for run_id in BAD_RUN_IDS
    },
    **{f"delete_run {run_id!r:.12}": lambda s, r=run_id: s.client.delete_run(r) for run_id in BAD_RUN_IDS},
    **{f"restore_run {run_id!r:.12}": lambda s, r=run_id: s.client.restore_run(r) for run_id in BAD_RUN_IDS},
    # runs
    "get a deleted run": lambda s: s.client.get_run(s.deleted_run_id),
    "delete a deleted run": lambda s: s.client.delete_run(s.deleted_run_id),
    "restore an active run": lambda s: s.client.restore_run(s.run_id),
    "finish a deleted run": lambda s: s.client.set_terminated(s.deleted_run_id),
    "finish an unknown run": lambda s: s.client.set_terminated("unknown"),
    "finish with an unknown status": lambda s: s.client.set_terminated(s.run_id, "Sleeping"),
    "rename a deleted run": lambda s: s.client.update_run(s.deleted_run_id, name="new"),
    "an unknown status": lambda s: s.client.update_run(s.run_id, status="SLEEPING"),
    "a run in an unknown experiment": lambda s: s.client.create_run("999"),
    "a run in a deleted experiment": lambda s: s.client.create_run(s.deleted_experiment_id),
    "a run with two names": lambda s: s.client.create_run(s.experiment_id, run_name="a", tags={"mlflow.runName": "b"}),
    "a run with a bad tag": lambda s: s.client.create_run(s.experiment_id, tags={"a#b": "1"}),
    "a run that starts before time": lambda s: s.client.create_run(s.experiment_id, start_time=-1),
    "log_inputs to an unknown run": lambda s: s.client.log_inputs("unknown", []),
    "log_inputs to a deleted run": lambda s: s.client.log_inputs(s.deleted_run_id, []),
    # experiments
    **{f"get_experiment {key!r:.12}": lambda s, k=key: s.client.get_experiment(k) for key in BAD_EXPERIMENT_IDS},
    **{f"delete_experiment {key!r:.12}": lambda s, k=key: s.client.delete_experiment(k) for key in BAD_EXPERIMENT_IDS},
    **{f"create_run in {key!r:.12}": lambda s, k=key: s.client.create_run(k) for key in BAD_EXPERIMENT_IDS},
    "experiment twice": lambda s: s.client.create_experiment("active"),
    "experiment with the name of a deleted one": lambda s: s.client.create_experiment("deleted"),
    **{
        f"experiment named {name!r:.12}": lambda s, n=name: s.client.create_experiment(n)
        for name in ("", None, 5, "e" * 501, "e" * 500, " ", "a/b#c", "ü")
    },
    "experiment with a bad tag": lambda s: s.client.create_experiment("new", tags={"a#b": "1"}),
    "experiment with a long tag": lambda s: s.client.create_experiment("long tag", tags={"t": "v" * 5001}),
    "experiment at runs:/": lambda s: s.client.create_experiment("new", artifact_location="runs:/x/y"),
    "experiment at a location with a fragment": lambda s: s.client.create_experiment(
        "fragment", artifact_location="s3://b#x"
    ),
    "experiment at a location that climbs": lambda s: s.client.create_experiment(
        "climbs", artifact_location="s3://b/../x"
    ),
    "rename to a name that is taken": lambda s: s.client.rename_experiment(s.experiment_id, "Default"),
    "rename to nothing": lambda s: s.client.rename_experiment(s.experiment_id, ""),
    "rename to None": lambda s: s.client.rename_experiment(s.experiment_id, None),
    "rename to a long name": lambda s: s.client.rename_experiment(s.experiment_id, "e" * 501),
    "rename a deleted experiment": lambda s: s.client.rename_experiment(s.deleted_experiment_id, "new"),
    "rename an unknown experiment": lambda s: s.client.rename_experiment("999", "new"),
    "delete a deleted experiment": lambda s: s.client.delete_experiment(s.deleted_experiment_id),
    "restore an active experiment": lambda s: s.client.restore_experiment(s.experiment_id),
    "restore an unknown experiment": lambda s: s.client.restore_experiment("999"),
    "experiment tag of a deleted experiment": lambda s: s.client.set_experiment_tag(s.deleted_experiment_id, "t", "1"),
    "experiment tag of an unknown experiment": lambda s: s.client.set_experiment_tag("999", "t", "1"),
    "bad experiment tag": lambda s: s.client.set_experiment_tag(s.experiment_id, "a#b", "1"),
    "long experiment tag": lambda s: s.client.set_experiment_tag(s.experiment_id, "t", "v" * 5001),
    "unknown experiment by name": lambda s: s.client.get_experiment_by_name("unknown"),
    # pages
    "runs by a bad page token": lambda s: s.client.search_runs([s.experiment_id], page_token="bad"),
    "experiments by a bad page token": lambda s: s.client.search_experiments(page_token="bad"),
    "models by a bad page token": lambda s: s.client.search_registered_models(page_token="bad"),
    "no runs at all": lambda s: s.client.search_runs([s.experiment_id], max_results=0),
    "fewer than no runs": lambda s: s.client.search_runs([s.experiment_id], max_results=-1),
    "too many runs": lambda s: s.client.search_runs([s.experiment_id], max_results=50_001),
    "no experiments at all": lambda s: s.client.search_experiments(max_results=0),
    "too many experiments": lambda s: s.client.search_experiments(max_results=50_001),
    "runs of an unknown experiment": lambda s: s.client.search_runs(["999"]),
    "the status of a run as MLflow has it": lambda s: s.client.update_run(s.run_id, RunStatus.to_string(3)),
}

# Where the outcome differs on purpose: MLflow's own, and ours.
_NO_RULE_THERE = "INTERNAL_ERROR", "INVALID_PARAMETER_VALUE"  # MLflow leaves it to SQLite, which stumbles
_NO_CHECK_THERE = "TypeError", "INVALID_PARAMETER_VALUE"  # MLflow's check itself stumbles
_TAKEN_THERE = "taken", "INVALID_PARAMETER_VALUE"
DIFFERENT = {
    "metric named 1": _NO_CHECK_THERE,
    "param named 1": _NO_CHECK_THERE,
    "tag named 1": _NO_RULE_THERE,
    "log_batch to None": _NO_CHECK_THERE,
    "log_batch to 5": _NO_CHECK_THERE,
    "metric timestamp 9223372036854775808": _NO_RULE_THERE,
    "metric step 9223372036854775808": _NO_RULE_THERE,
    "metric timestamp nan": ("BAD_REQUEST", "INVALID_PARAMETER_VALUE"),
    "metric step inf": _TAKEN_THERE,
    "metric timestamp True": _TAKEN_THERE,
    "metric step True": _TAKEN_THERE,
    "get_experiment '99999999999": _NO_RULE_THERE,
    "delete_experiment '99999999999": _NO_RULE_THERE,
    "create_run in '99999999999": _NO_RULE_THERE,
    # MLflow takes no id for the default experiment's; here nothing is logged to a place that nobody named.
    "get_experiment ''": _TAKEN_THERE,
    "get_experiment None": _TAKEN_THERE,
    "create_run in None": _TAKEN_THERE,
    "create_run in ''": ("BAD_REQUEST", "INVALID_PARAMETER_VALUE"),
    "experiment at a location that climbs": _TAKEN_THERE,
    "rename to a name that is taken": ("BAD_REQUEST", "RESOURCE_ALREADY_EXISTS"),
}


@pytest.mark.skipif(not hasattr(mlflow.entities, "LoggedModel"), reason="MLflow 2's own store has other error codes")
@pytest.mark.parametrize("call", CALLS)
def test_a_call_ends_as_it_does_in_mlflows_own_store(call: str, reference: Store, ours: Store) -> None:
    expected, found = _outcome(CALLS[call], reference), _outcome(CALLS[call], ours)

    if call in DIFFERENT:
        assert (expected, found) == DIFFERENT[call]
    else:
        assert found == expected


def test_every_difference_is_about_a_call_that_is_made() -> None:
    assert set(DIFFERENT) <= set(CALLS)


def test_refused_calls_cost_nothing_already_logged(ours: Store) -> None:
    before = ours.client.get_run(ours.run_id).to_dictionary()
    refused = [
        call for call in CALLS if call.startswith(("metric named", "metric value", "param", "a batch with a bad"))
    ]

    outcomes = {call: _outcome(CALLS[call], ours) for call in refused if not call.startswith(("param of", "param too"))}

    assert outcomes["a batch with a bad tag"] == outcomes["param changed"] == "INVALID_PARAMETER_VALUE"
    after = ours.client.get_run(ours.run_id).to_dictionary()
    assert after["info"] == before["info"]
    assert after["data"]["params"]["p"] == "1"
    assert after["data"]["metrics"]["m"] == 1.0
    assert after["data"]["tags"] == before["data"]["tags"]
    assert "m0" not in after["data"]["metrics"]  # the good part of the batch that had a bad tag
