"""The processes of a run, each with its command line and what tells it its rank."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from mlflow_amlstore.core import ScriptRunConfig
from mlflow_amlstore.core.run_configuration import MpiConfiguration, PyTorchConfiguration, TensorflowConfiguration
from mlflow_amlstore.errors import InvalidValue, NotSupported
from mlflow_amlstore.runner.ranks import Rank, process_count, ranks_of

PORT = 29500
SCRIPT = "import json, os, sys; print(json.dumps([sys.argv[1:], dict(os.environ)]))"


def ranks(distributed: Any = None, **given: Any) -> list[Rank]:
    given = given or {"script": "train.py"}
    definition = ScriptRunConfig("src", distributed_job_config=distributed, **given).definition()
    return ranks_of(json.loads(json.dumps(definition)), [sys.executable, "-E"], port=PORT)


def run(rank: Rank, folder: Path) -> str:
    return subprocess.run(rank.argv, cwd=folder, env=rank.variables, capture_output=True, text=True, check=True).stdout


def test_a_script_is_one_process_that_is_told_nothing_of_ranks() -> None:
    assert ranks(script="train.py", arguments=["--alpha", 0.5]) == [
        Rank(0, [sys.executable, "-E", "train.py", "--alpha", "0.5"], {}, "user_logs/std_log.txt")
    ]


def test_arguments_reach_the_script_as_they_were_given(tmp_path: Path) -> None:
    (tmp_path / "train.py").write_text(SCRIPT)
    arguments = ["two words", "a\nb", "it's", '"', "", "$HOME", "日本"]
    (rank,) = ranks(script="train.py", arguments=arguments)
    assert json.loads(run(rank, tmp_path))[0] == arguments


def test_arguments_in_one_text_which_the_sdk_sends_too_are_split() -> None:
    definition = {"script": "train.py", "arguments": "--name 'two words'"}
    assert ranks_of(definition, ["python"], port=PORT)[0].argv == ["python", "train.py", "--name", "two words"]


def test_each_process_of_pytorch_is_told_its_rank(tmp_path: Path) -> None:
    (tmp_path / "train.py").write_text(SCRIPT)
    started = ranks(PyTorchConfiguration(process_count=2))
    assert [rank.log for rank in started] == ["user_logs/std_log_process_0.txt", "user_logs/std_log_process_1.txt"]
    for number, rank in enumerate(started):
        told = json.loads(run(rank, tmp_path))[1]
        assert rank.number == number
        assert told.items() >= rank.variables.items()
        assert rank.variables == {
            "RANK": str(number),
            "LOCAL_RANK": str(number),
            "WORLD_SIZE": "2",
            "LOCAL_WORLD_SIZE": "2",
            "NODE_RANK": "0",
            "MASTER_ADDR": "127.0.0.1",
            "MASTER_PORT": str(PORT),
        }


def test_each_process_of_mpi_is_told_its_rank_as_open_mpi_does_besides() -> None:
    started = ranks(MpiConfiguration(3))
    assert len(started) == 3
    assert started[2].variables == {
        "OMPI_COMM_WORLD_RANK": "2",
        "OMPI_COMM_WORLD_SIZE": "3",
        "OMPI_COMM_WORLD_LOCAL_RANK": "2",
        "OMPI_COMM_WORLD_LOCAL_SIZE": "3",
        "RANK": "2",
        "LOCAL_RANK": "2",
        "WORLD_SIZE": "3",
        "LOCAL_WORLD_SIZE": "3",
        "NODE_RANK": "0",
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(PORT),
    }


@pytest.mark.parametrize("distributed", [PyTorchConfiguration(), MpiConfiguration()], ids=repr)
def test_a_process_that_may_start_others_is_told_no_rank(distributed: Any) -> None:
    (rank,) = ranks(distributed)
    assert rank.log == "user_logs/std_log.txt"
    assert {"RANK", "LOCAL_RANK"}.isdisjoint(rank.variables)
    assert {"MASTER_ADDR", "MASTER_PORT", "NODE_RANK", "WORLD_SIZE"} <= set(rank.variables)


def test_one_process_that_was_asked_for_by_number_is_told_its_rank() -> None:
    (rank,) = ranks(PyTorchConfiguration(process_count=1))
    assert (rank.variables["RANK"], rank.variables["WORLD_SIZE"]) == ("0", "1")


@pytest.mark.parametrize(
    "command", ["echo $NODE_RANK && echo 'a  b'", ["echo", "$NODE_RANK", "&&", "echo", "'a  b'"]], ids=["text", "list"]
)
def test_a_command_is_the_shells(command: Any, tmp_path: Path) -> None:
    (rank,) = ranks(PyTorchConfiguration(), command=command)
    assert run(rank, tmp_path) == "0\na  b\n"


def test_one_worker_of_tensorflow_is_one_process() -> None:
    (rank,) = ranks(TensorflowConfiguration(worker_count=1, parameter_server_count=0))
    assert rank.variables == {}
    assert process_count({"script": "train.py", "framework": "TensorFlow", "communicator": "None"}) == 1


@pytest.mark.parametrize(
    ("distributed", "told"),
    [
        (
            MpiConfiguration(2, node_count=2),
            "^node_count=2 on one machine is not supported.* belong to Ray or Azure ML",
        ),
        (PyTorchConfiguration(process_count=8, node_count=2), "^node_count=2 on one machine is not supported"),
        (TensorflowConfiguration(2, 0), "^node_count=2 on one machine is not supported"),
        (TensorflowConfiguration(), "^TensorflowConfiguration with parameter_server_count=1 is not supported"),
    ],
    ids=repr,
)
def test_what_one_machine_cant_do_is_refused_by_name(distributed: Any, told: str) -> None:
    with pytest.raises(NotSupported, match=told):
        ranks(distributed)


@pytest.mark.parametrize("framework", ["PySpark", "CNTK", 5])
def test_other_frameworks_are_refused_by_name(framework: Any) -> None:
    with pytest.raises(NotSupported, match=f"A run of framework {framework!r} is not supported"):
        process_count({"script": "train.py", "framework": framework})


@pytest.mark.parametrize("count", [0, -1, 1.5, "2", True])
def test_a_count_that_is_none_is_refused_by_name(count: Any) -> None:
    with pytest.raises(InvalidValue, match="for node_count: must be a whole number from 1 on"):
        process_count({"nodeCount": count})
    with pytest.raises(InvalidValue, match="for process_count_per_node: must be a whole number from 1 on"):
        process_count({"communicator": "IntelMpi", "mpi": {"processCountPerNode": count}})
    with pytest.raises(InvalidValue, match="for process_count: must be a whole number from 1 on"):
        process_count({"framework": "PyTorch", "pytorch": {"processCount": count}})


@pytest.mark.parametrize("given", [{}, {"script": "train.py", "command": "ls"}, {"script": "a", "arguments": 5}])
def test_a_definition_that_says_nothing_to_start_or_too_much_is_refused(given: dict[str, str]) -> None:
    with pytest.raises(InvalidValue):
        ranks_of(given, ["python"], port=PORT)
