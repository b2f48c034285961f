"""The processes of a run on one machine, by its definition: their command lines and what tells each its rank.

A definition is the JSON form of a run configuration, as Azure ML's SDK sends it. The variables are those that Azure ML
sets for PyTorch (its page on distributed GPU training), and Open MPI's, which scripts for MPI read.
"""

import shlex
import shutil
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from mlflow_amlstore.errors import InvalidValue, NotSupported
from mlflow_amlstore.records.validation import encodable
from mlflow_amlstore.runner.ray_address import is_ray_address

# The other spellings that old scripts have are the same in lower case.
_PYTHON, _PYTORCH, _TENSORFLOW = "python", "pytorch", "tensorflow"
_MPI = frozenset({"mpi", "intelmpi", "openmpi"})
HOST = "127.0.0.1"
"""Where the ranks meet."""
NO_TEXT = "must be text, without NUL and without bytes that are no UTF-8"
"""The rule that `is_text` is."""


class Rank(NamedTuple):
    """One process of a run: its number from 0, its command line, the environment variables of its own, and the log
    file that gets its output."""

    number: int
    argv: list[str]
    variables: dict[str, str]
    log: str


def ranks_of(definition: Mapping[str, Any], interpreter: Sequence[str], port: int) -> list[Rank]:
    """The processes of a run in the order of their ranks; a run without a distributed configuration is one process.

    `interpreter` is what stands before the script: a Python and its options. A command is the shell's, so that it can
    say `$NODE_RANK`; a list of its words is joined by spaces. The ranks meet at `port` of this machine.
    Raises as `process_count` does.
    """
    count = process_count(definition)
    return [
        Rank(
            number,
            _argv(definition, interpreter),
            _variables(definition, number, count, port),
            "user_logs/std_log.txt" if count == 1 else f"user_logs/std_log_process_{number}.txt",
        )
        for number in range(count)
    ]


def process_count(definition: Mapping[str, Any]) -> int:
    """How many processes a run starts on this machine.

    Raises NotSupported, naming it, for what one machine can't do: more nodes, parameter servers, other frameworks than
    Python, PyTorch and TensorFlow. Raises InvalidValue for a number that is none. On Ray it is one, which asks Ray for
    nodes and processes itself.
    """
    framework = _framework(definition)
    nodes = _count("node_count", definition.get("nodeCount", 1))
    if framework == _TENSORFLOW and str(definition.get("communicator")).lower() == "parameterserver":
        servers = _section(definition, "tensorflow").get("parameterServerCount", 1)
        if servers:
            raise NotSupported(
                f"TensorflowConfiguration with parameter_server_count={servers!r}",
                "Give parameter_server_count=0, or start the servers in the script",
            )
        nodes = max(nodes, _count("worker_count", _section(definition, "tensorflow").get("workerCount", 1)))
    is_on_ray = is_ray_address(definition.get("target"))
    if nodes > 1 and not is_on_ray:
        raise NotSupported(
            f"node_count={nodes} on one machine",
            "Several nodes belong to Ray or Azure ML; here PyTorchConfiguration(process_count=N) or "
            "MpiConfiguration(process_count_per_node=N) starts several processes",
        )
    field, count = "process_count", 1
    if framework == _PYTORCH:
        processes = _section(definition, "pytorch").get("processCount")
        count = 1 if processes is None else _count(field, processes)
    elif is_mpi(definition):
        field = "process_count_per_node"
        count = _count(field, _section(definition, "mpi").get("processCountPerNode", 1))
    if count > 1 and is_on_ray:
        raise NotSupported(
            f"{field}={count} on Ray",
            "There the script starts its processes, such as with ray.train.torch.TorchTrainer and "
            f"ScalingConfig(num_workers={count})",
        )
    return count


def _framework(definition: Mapping[str, Any]) -> str:
    name = definition.get("framework") or "Python"
    if not isinstance(name, str) or name.lower() not in (_PYTHON, _PYTORCH, _TENSORFLOW):
        raise NotSupported(f"A run of framework {name!r}", "Use Python, PyTorch or TensorFlow")
    return name.lower()


def is_mpi(definition: Mapping[str, Any]) -> bool:
    """Whether a run's processes are told their ranks as MPI does. Raises as `process_count` does."""
    return _framework(definition) == _PYTHON and str(definition.get("communicator")).lower() in _MPI


def _section(definition: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    section = definition.get(name)
    return section if isinstance(section, Mapping) else {}


def _count(name: str, value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise InvalidValue(name, value, "must be a whole number from 1 on")
    return value


def _argv(definition: Mapping[str, Any], interpreter: Sequence[str]) -> list[str]:
    script, command = definition.get("script"), definition.get("command")
    if bool(script) == bool(command):
        raise InvalidValue("script", script, f"give either a script or a command; the command is {command!r}")
    if script:
        script = f"./{script}" if str(script).startswith("-") else str(script)  # no option of Python's
        return [*interpreter, script, *words_of("arguments", definition.get("arguments") or ())]
    shell = shutil.which("bash") or "/bin/sh"  # Azure ML's is bash
    return [shell, "-c", command if isinstance(command, str) else " ".join(words_of("command", command))]


def words_of(field: str, given: object) -> list[str]:
    """The words of a command line, each as a text; one text is split as a shell would. Raises InvalidValue, naming the
    field, for what is no list, or what no process can be given."""
    if isinstance(given, str):
        try:
            given = shlex.split(given)
        except ValueError as error:
            raise InvalidValue(field, given, f"can't be split into words: {error}") from None
    if not isinstance(given, Iterable) or isinstance(given, bytes | Mapping):
        raise InvalidValue(field, given, "must be a list")
    words = [str(word) for word in given]
    for word in words:
        if not is_text(word):
            raise InvalidValue(field, word, NO_TEXT)
    return words


def is_text(word: str) -> bool:
    """Whether a process can be given it, and UTF-8 has it: a file's name that is no UTF-8 has bytes that it hasn't."""
    return "\0" not in word and encodable(word) == word


def _variables(definition: Mapping[str, Any], number: int, count: int, port: int) -> dict[str, str]:
    """What a process is told. One that wasn't asked for by a count isn't told a rank: Lightning and torchrun, which
    start processes of their own, would take it for one of several."""
    is_pytorch, is_of_mpi = _framework(definition) == _PYTORCH, is_mpi(definition)
    if not is_pytorch and not is_of_mpi:
        return {}
    rank, size = str(number), str(count)
    variables = {"NODE_RANK": "0", "WORLD_SIZE": size, "MASTER_ADDR": HOST, "MASTER_PORT": str(port)}
    if count > 1 or (is_pytorch and _section(definition, "pytorch").get("processCount") is not None):
        variables |= {"RANK": rank, "LOCAL_RANK": rank, "LOCAL_WORLD_SIZE": size}
    if is_of_mpi:
        variables |= {
            "OMPI_COMM_WORLD_RANK": rank,
            "OMPI_COMM_WORLD_SIZE": size,
            "OMPI_COMM_WORLD_LOCAL_RANK": rank,
            "OMPI_COMM_WORLD_LOCAL_SIZE": size,
        }
    return variables
