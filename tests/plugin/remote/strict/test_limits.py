"""What is beyond Azure ML's limits: batches are split, and what a run has no room for is kept in its files."""

import logging
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import mlflow
import pytest
from forked_service import ForkedService
from mlflow import MlflowClient
from mlflow.entities import Metric, Param, RunTag
from mlflow.exceptions import MlflowException

from mlflow_amlstore.client.connection import connection_of
from mlflow_amlstore.client.journal.journal import journal_of
from mlflow_amlstore.core import Workspace
from mlflow_amlstore.errors import AmlStoreError, ServiceUnreachable

from .conftest import OtherProcess


def of_user(tags: dict[str, str]) -> dict[str, str]:
    return {name: value for name, value in tags.items() if not name.startswith(("mlflow.", "amlstore_"))}


def test_5000_params_and_100_000_metrics_all_arrive(client: MlflowClient, run_id: str) -> None:
    for start in range(0, 5000, 100):
        client.log_batch(run_id, params=[Param(f"p{n}", str(n)) for n in range(start, start + 100)])
    points = [Metric(f"m{n % 10}", n, 0, n) for n in range(100_000)]
    for start in range(0, len(points), 1000):
        client.log_batch(run_id, points[start : start + 1000])
    client.set_terminated(run_id)
    run = client.get_run(run_id)
    assert run.info.status == "FINISHED"
    assert run.data.params == {f"p{n}": str(n) for n in range(5000)}
    for name in range(10):
        assert [m.value for m in client.get_metric_history(run_id, f"m{name}")] == list(range(name, 100_000, 10))


def test_params_one_by_one_go_on_when_the_run_is_full(client: MlflowClient, run_id: str) -> None:
    for n in range(240):
        client.log_param(run_id, f"p{n}", n)
    assert client.get_run(run_id).data.params == {f"p{n}": str(n) for n in range(240)}


@pytest.mark.parametrize("name", ["p0", "p249"])
def test_a_param_keeps_its_value_wherever_it_is(client: MlflowClient, run_id: str, name: str) -> None:
    for start in (0, 100, 200):
        client.log_batch(run_id, params=[Param(f"p{n}", "1") for n in range(start, min(start + 100, 250))])
    client.log_param(run_id, name, 1)
    with pytest.raises(MlflowException, match="Changing param values is not allowed"):
        client.log_param(run_id, name, 2)
    assert client.get_run(run_id).data.params[name] == "1"


@pytest.mark.parametrize(("first", "second"), [("x" * 2000, "short"), ("short", "x" * 2000), ("x" * 2000, "x" * 2001)])
def test_a_param_keeps_its_value_however_long_it_is(
    client: MlflowClient, run_id: str, first: str, second: str, other_process: OtherProcess
) -> None:
    client.log_param(run_id, "prompt", first)
    client.log_param(run_id, "prompt", first)
    with pytest.raises(MlflowException, match="Changing param values is not allowed"):
        client.log_param(run_id, "prompt", second)
    with pytest.raises(MlflowException, match="Changing param values is not allowed"):
        client.log_batch(run_id, params=[Param("prompt", second), Param("other", "1")])
    other_process(
        """
        try: client.log_param(run_id, "prompt", sys.argv[2])
        except Exception as error: assert "Changing param" in str(error)
        else: sys.exit("it was changed")
    """,
        run_id,
        second,
    )
    assert client.get_run(run_id).data.params["prompt"] == first


BY_KILL = """
import os
from mlflow_amlstore.client.connection import Connection
real, count = Connection.request, 0
def killed(self, *given, **more):
    global count
    count += 1
    if count > int(sys.argv[3]):
        os._exit(0)
    return real(self, *given, **more)
Connection.request = killed
"""


@pytest.mark.parametrize("requests", range(1, 8))
def test_what_was_interrupted_is_whole_when_it_is_done_again(
    client: MlflowClient, run_id: str, other_process: OtherProcess, requests: int
) -> None:
    log = "client.log_param(run_id, 'p', sys.argv[2]); client.set_tag(run_id, 't', sys.argv[2])"
    long = "x" * 2000
    other_process(BY_KILL + log, run_id, long, str(requests))
    other_process(log, run_id, long)
    found = client.get_run(run_id).data
    assert (found.params, of_user(found.tags)) == ({"p": long}, {"t": long})


@pytest.mark.parametrize("requests", range(6, 14))
def test_making_room_for_a_tag_loses_none_where_it_is_interrupted(
    client: MlflowClient, run_id: str, other_process: OtherProcess, requests: int
) -> None:
    free = 50 - len(client.get_run(run_id).data.tags)
    tags = {f"t{n:02}": str(n) for n in range(free)}
    client.log_batch(run_id, tags=[RunTag(name, value) for name, value in tags.items()])
    other_process(BY_KILL + "client.set_tag(run_id, 'one more', 'x')", run_id, "", str(requests))
    found = of_user(client.get_run(run_id).data.tags)
    assert {name: value for name, value in found.items() if name != "one more"} == tags


def test_a_write_that_failed_isnt_taken_for_the_next(
    client: MlflowClient, run_id: str, other_process: OtherProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal = journal_of(connection_of(client.tracking_uri), run_id)
    upload = journal._upload

    def comes_but_fails(part: Any, entries: Any) -> None:
        upload(part, entries)
        raise ServiceUnreachable("https://host", "the answer was lost")

    with monkeypatch.context() as lost, pytest.raises(MlflowException, match="the answer was lost"):
        lost.setattr(journal, "_upload", comes_but_fails)
        client.set_tag(run_id, "a", "x" * 1500)
    client.set_tag(run_id, "b", "x" * 1500)
    other_process("assert len(client.get_run(run_id).data.tags['b']) == 1500", run_id)
    names = [file.path for file in client.list_artifacts(run_id, ".amlstore/journal")]
    assert [name.split(".")[-2] for name in names] == ["000000-000000", "000001-000001"]


def test_a_long_tag_is_whole_in_a_run_that_is_full(client: MlflowClient, experiment_id: str) -> None:
    for count in (48, 49, 50):
        run_id = client.create_run(experiment_id).info.run_id
        free = count - len(client.get_run(run_id).data.tags)
        client.log_batch(run_id, tags=[RunTag(f"t{n:02}", "v") for n in range(free)])
        last = f"t{free - 1:02}"
        client.set_tag(run_id, last, "x" * 1500)
        client.set_tag(run_id, "one more", "y" * 1500)
        found = of_user(client.get_run(run_id).data.tags)
        assert found == {**{f"t{n:02}": "v" for n in range(free - 1)}, last: "x" * 1500, "one more": "y" * 1500}


def fill(client: MlflowClient, run_id: str) -> None:
    for start in (0, 100):
        client.log_batch(run_id, params=[Param(f"full{n}", "v") for n in range(start, start + 100)])
    client.log_param(run_id, "kept", "v")


@pytest.mark.parametrize("name", ["a\nb", "", "/abs", "n" * 300, "emoji😀"])
def test_a_name_is_refused_in_a_full_run_too(client: MlflowClient, run_id: str, name: str) -> None:
    fill(client, run_id)
    there = client.get_run(run_id).data
    for log in (client.log_param, client.set_tag):
        with pytest.raises(MlflowException) as refused:
            log(run_id, name, "v" * 1500)
        assert refused.value.error_code == "INVALID_PARAMETER_VALUE"
    assert client.get_run(run_id).data.params == there.params


def test_a_param_that_is_given_twice_is_refused_in_a_full_run_too(client: MlflowClient, run_id: str) -> None:
    fill(client, run_id)
    with pytest.raises(MlflowException, match="each param once"):
        client.log_batch(run_id, params=[Param("x", "1"), Param("x", "2")])
    assert "x" not in client.get_run(run_id).data.params


def test_a_deleted_run_takes_nothing_though_it_is_full(client: MlflowClient, run_id: str) -> None:
    fill(client, run_id)
    client.delete_run(run_id)
    for log in (client.log_param, client.set_tag):
        with pytest.raises(MlflowException, match=run_id):
            log(run_id, "n" * 150, "v" * 1500)
    client.restore_run(run_id)
    assert "n" * 150 not in {**client.get_run(run_id).data.params, **client.get_run(run_id).data.tags}


def test_two_processes_cant_both_give_a_param_its_value(
    client: MlflowClient, run_id: str, other_process: OtherProcess, tmp_path: Path
) -> None:
    def log(tail: str) -> None:
        other_process(
            """
            import pathlib, time
            client.get_run(run_id)
            while time.time() < float(sys.argv[3]):
                pass
            try: client.log_param(run_id, "p", "x" * 1500 + sys.argv[2])
            except Exception as error: assert "Changing param" in str(error), error
            else: pathlib.Path(sys.argv[4], sys.argv[2]).touch()
        """,
            run_id,
            tail,
            str(time.time() + 6),
            str(tmp_path),
        )

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(log, "ab"))
    told = [file.name for file in tmp_path.iterdir() if file.name in "ab"]
    assert [f"{'x' * 1500}{tail}" for tail in told] in ([client.get_run(run_id).data.params["p"]], [])


def test_the_last_tag_holds_though_the_clock_is_behind(
    client: MlflowClient, run_id: str, other_process: OtherProcess
) -> None:
    client.set_tag(run_id, "t", "a" * 1500)
    other_process(
        """
        import time
        real = time.time
        time.time = lambda: real() - 30
        client.set_tag(run_id, "t", "b" * 1500)
    """,
        run_id,
    )
    assert client.get_run(run_id).data.tags["t"] == "b" * 1500


def test_a_value_that_looks_cut_is_itself(client: MlflowClient, run_id: str) -> None:
    client.set_tag(run_id, "t", "a" * 1500)
    for short in ("…", "aaa…"):
        client.set_tag(run_id, "t", short)
        assert client.get_run(run_id).data.tags["t"] == short


def test_a_run_begins_with_more_than_it_has_room_for(client: MlflowClient, experiment_id: str) -> None:
    tags = {**{f"t{n}": str(n) for n in range(60)}, "k" * 101: "x", "long": "v" * 3000}
    with mlflow.start_run(experiment_id=experiment_id, run_name="n" * 300, tags=tags, description="d" * 4000) as run:
        assert run.info.run_name == "n" * 300
    found = client.get_run(run.info.run_id)
    assert of_user(found.data.tags) == tags
    assert found.data.tags["mlflow.note.content"] == "d" * 4000
    assert found.info.run_name == found.data.tags["mlflow.runName"] == "n" * 300
    (listed,) = client.search_runs([experiment_id])
    assert (listed.info.run_name, listed.data.tags) == (found.info.run_name, found.data.tags)


def test_a_run_is_renamed_to_a_long_name_and_to_a_short_one(client: MlflowClient, run_id: str) -> None:
    for name in ("n" * 300, "short", "m" * 257, "m" * 256):
        client.update_run(run_id, name=name)
        found = client.get_run(run_id)
        assert (found.info.run_name, found.data.tags["mlflow.runName"]) == (name, name)


def test_long_values_are_read_whole(client: MlflowClient, run_id: str) -> None:
    client.log_param(run_id, "prompt", "p" * 6000)
    client.set_tag(run_id, "note", "n" * 5000)
    client.log_batch(run_id, params=[Param("short", "s"), Param("long", "l" * 1001)], tags=[RunTag("t" * 101, "x")])
    run = client.get_run(run_id)
    assert run.data.params == {"prompt": "p" * 6000, "short": "s", "long": "l" * 1001}
    assert of_user(run.data.tags) == {"note": "n" * 5000, "t" * 101: "x"}
    (found,) = client.search_runs([run.info.experiment_id])
    assert (found.data.params, found.data.tags) == (run.data.params, run.data.tags)


def test_a_long_tag_can_be_set_to_something_else_and_deleted(client: MlflowClient, run_id: str) -> None:
    client.set_tag(run_id, "note", "n" * 5000)
    client.set_tag(run_id, "note", "short")
    assert client.get_run(run_id).data.tags["note"] == "short"
    client.set_tag(run_id, "note", "m" * 5000)
    assert client.get_run(run_id).data.tags["note"] == "m" * 5000
    client.delete_tag(run_id, "note")
    assert "note" not in client.get_run(run_id).data.tags
    with pytest.raises(MlflowException, match="note") as refused:
        client.delete_tag(run_id, "note")
    assert refused.value.error_code == "RESOURCE_DOES_NOT_EXIST"


def test_a_hundred_tags_are_all_there(client: MlflowClient, run_id: str) -> None:
    tags = {f"t{n}": str(n) for n in range(100)}
    client.log_batch(run_id, tags=[RunTag(name, value) for name, value in tags.items()])
    client.set_tag(run_id, "one more", "x")
    assert of_user(client.get_run(run_id).data.tags) == {**tags, "one more": "x"}
    client.delete_tag(run_id, "t99")
    assert "t99" not in client.get_run(run_id).data.tags


def test_processes_that_fill_a_run_with_tags_together_lose_none(
    client: MlflowClient, run_id: str, other_process: OtherProcess
) -> None:
    def tag(prefix: str) -> None:
        other_process("for n in range(30): client.set_tag(run_id, f'{sys.argv[2]}{n}', str(n))", run_id, prefix)

    with ThreadPoolExecutor(3) as pool:
        list(pool.map(tag, "abc"))
    assert of_user(client.get_run(run_id).data.tags) == {f"{prefix}{n}": str(n) for prefix in "abc" for n in range(30)}


def test_what_there_is_no_room_for_is_kept_in_one_go(
    client: MlflowClient, run_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    connection = connection_of(client.tracking_uri)
    asked: list[str] = []
    request = connection.request
    monkeypatch.setattr(connection, "request", lambda *given, **more: asked.append(given[1]) or request(*given, **more))
    client.log_batch(run_id, tags=[RunTag(f"t{n}", str(n)) for n in range(100)])
    of_tags, asked[:] = len(asked), []
    client.log_batch(run_id, params=[Param(f"p{n}", str(n)) for n in range(100)])
    client.log_batch(run_id, params=[Param(f"q{n}", str(n)) for n in range(100)])
    asked.clear()
    client.log_param(run_id, "one more", "x")
    first, asked[:] = len(asked), []
    client.log_param(run_id, "and one", "x")
    assert (of_tags, first, len(asked)) == (9, 6, 4), asked


def test_a_warning_says_so_once_and_where_they_are(
    client: MlflowClient, run_id: str, caplog: pytest.LogCaptureFixture
) -> None:
    from mlflow_amlstore.plugin.remote_tracking import tracking_store_of

    tracking_store_of(client.tracking_uri)._log._has_warned = False  # of the tests before
    with caplog.at_level(logging.WARNING, "mlflow_amlstore"):
        for n in range(3):
            client.log_param(run_id, f"long {n}", "x" * 2000)
    (told,) = [record.getMessage() for record in caplog.records]
    assert f"Run {run_id} has no room for 'long 0'" in told


def test_what_one_process_keeps_another_reads_and_adds_to(
    client: MlflowClient, run_id: str, other_process: OtherProcess
) -> None:
    def log(prefix: str) -> None:
        other_process(
            """
            for start in (0, 100, 200):
                client.log_batch(run_id, params=[Param(f"{sys.argv[2]}{n}", "1") for n in range(start, start + 100)])
        """,
            run_id,
            prefix,
        )

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(log, ["a", "b"]))
    assert client.get_run(run_id).data.params == {f"{prefix}{n}": "1" for prefix in "ab" for n in range(300)}


def test_a_bad_value_is_still_refused(client: MlflowClient, run_id: str) -> None:
    with pytest.raises(MlflowException) as refused:
        client.log_param(run_id, "a\nb", 1)
    assert refused.value.error_code == "INVALID_PARAMETER_VALUE"
    assert client.get_run(run_id).data.params == {}


def test_threads_that_fill_a_run_together_lose_none(client: MlflowClient, run_id: str) -> None:
    for start in (0, 95):
        client.log_batch(run_id, params=[Param(f"p{n}", "1") for n in range(start, start + 95)])

    def log(number: int) -> None:
        client.log_batch(run_id, params=[Param(f"t{number}-{n}", "1") for n in range(15)])

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(log, range(8)))
    assert len(client.get_run(run_id).data.params) == 190 + 8 * 15


def test_a_merged_file_that_never_came_hides_nothing(client: MlflowClient, run_id: str) -> None:
    client.log_param(run_id, "long", "x" * 2000)
    entry = {"kind": "tags", "at_ms": 1, "tags": {"t": "kept"}}
    for number in range(16):
        client.log_dict(run_id, {"entries": [entry]}, f".amlstore/journal/0a.{number:06}-{number:06}.json")
    client.log_text(run_id, "", ".amlstore/journal/0a.000000-000015.json")
    assert of_user(client.get_run(run_id).data.tags) == {"t": "kept"}


def test_a_file_of_the_journal_that_is_none_is_left_out(
    client: MlflowClient, run_id: str, caplog: pytest.LogCaptureFixture
) -> None:
    client.log_param(run_id, "long", "x" * 2000)
    client.log_text(run_id, "", ".amlstore/journal/0a.000000-000000.json")
    with caplog.at_level(logging.WARNING, "mlflow_amlstore"):
        assert client.get_run(run_id).data.params == {"long": "x" * 2000}
    assert "0a.000000-000000.json" in caplog.text


def test_a_file_is_logged_again_though_no_tag_can_be_set(client: MlflowClient, run_id: str) -> None:
    there = len(client.get_run(run_id).data.tags)
    client.log_batch(run_id, tags=[RunTag(f"t{n}", "x") for n in range(50 - there)])
    for text in ("1", "2"):
        client.log_text(run_id, text, "a.txt")
    assert mlflow.artifacts.load_text(f"{client.get_run(run_id).info.artifact_uri}/a.txt") == "2"


def test_run_shows_what_is_kept_in_files(service: ForkedService, client: MlflowClient, run_id: str) -> None:
    params = {f"p{number}": "x" * 1500 for number in range(250)}
    for start in range(0, 250, 50):
        names = list(params)[start : start + 50]
        client.log_batch(run_id, params=[Param(name, params[name]) for name in names])
    tags = {f"t{number}": "y" * 1500 for number in range(60)}
    for name, value in tags.items():
        client.set_tag(run_id, name, value)

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AMLSTORE_KEY", service.key)
        run = Workspace.from_url(service.url).get_run(run_id)
        assert run.get_details()["params"] == params
        assert of_user(run.get_tags()) == tags
        [listed] = [one for one in run.experiment.get_runs() if one.id == run_id]
        assert of_user(listed.get_tags()) == tags


def test_run_history_has_the_same_limits(service: ForkedService, run_id: str) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AMLSTORE_KEY", service.key)
        run = Workspace.from_url(service.url).get_run(run_id)
        for refused in (
            lambda: run.set_tags({f"t{number}": "1" for number in range(60)}),
            lambda: run.tag("long", "x" * 1001),
            lambda: run.add_properties({"long": "x" * 1001}),
            lambda: setattr(run, "display_name", "x" * 300),
            lambda: run.experiment.start_logging(display_name="x" * 300, snapshot_directory=None, outputs=None),
        ):
            with pytest.raises(AmlStoreError, match="over the size limit"):
                refused()


@pytest.mark.skipif(not hasattr(getattr(mlflow, "genai", None), "search_prompts"), reason="this MLflow has no prompts")
def test_prompts_are_found_and_are_no_models(client: MlflowClient) -> None:
    mlflow.genai.register_prompt("greeting", "Hello {{name}}")
    client.create_registered_model("a-model")

    assert [prompt.name for prompt in mlflow.genai.search_prompts()] == ["greeting"]
    assert [model.name for model in client.search_registered_models()] == ["a-model"]
    assert client.search_model_versions() == []
