"""What submitting a script costs, beside `python script.py`, a plain file, and what others take for the same.

    pip install -e '.[submit]' mlflow submitit 'ray[default]'
    python benchmarks/submit.py [--quick] [--rounds 10] [--output benchmarks/results/submit.json]

All take turns in one run; a figure is the median of its rounds unless it says otherwise. `mlflow run` is MLflow's own
local backend without an environment of its own, submitit its local executor, Ray a job of a head that has started; one
that isn't installed is left out. The script's folder has fifty files. A bar that isn't met is printed, and fails
nothing.
"""

import argparse
import json
import os
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

from mlflow_amlstore.core import Experiment, Workspace
from mlflow_amlstore.core.growing_logs import GrowingLogs
from mlflow_amlstore.core.script_run import ScriptRun
from mlflow_amlstore.core.script_run_config import ScriptRunConfig
from mlflow_amlstore.runner.environments import interpreter_of
from mlflow_amlstore.runner.main import GRACE_S

LOG = "user_logs/std_log.txt"
FILES = 50
OURS, PYTHON, MLFLOW, SUBMITIT, RAY = "amlstore", "python", "mlflow run", "submitit", "Ray job"
SAYS_WHEN = "import time\nprint(repr(time.time()), flush=True)\n"
TICKS = """import time
for _ in range({count}):
    print(repr(time.time()), flush=True)
    time.sleep(0.05)
"""
STAYS = """import os, signal, subprocess, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
code = "import os, time; os.setsid(); time.sleep(600)"
print(os.getpid(), subprocess.Popen([sys.executable, "-c", code], start_new_session=True).pid, flush=True)
time.sleep(600)
"""
WRITES = """import sys, time
line, began = "x" * 99 + "\\n", time.perf_counter()
for _ in range({size} // 100_000):
    sys.stdout.write(line * 1000)
sys.stdout.flush()
print(time.perf_counter() - began, file=sys.stderr)
"""


class Figures:
    """What was measured, by what it is and of whom."""

    def __init__(self) -> None:
        self.rounds: dict[tuple[str, str], list[float]] = defaultdict(list)
        self.bars: dict[str, float] = {}

    def add(self, what: str, who: str, value: float, bar: float | None = None) -> None:
        self.rounds[what, who].append(value)
        if bar is not None:
            self.bars[what] = bar

    def median(self, what: str, who: str) -> float:
        return statistics.median(self.rounds[what, who])

    def show(self) -> None:
        """Print a line for each figure; others stand below ours with how many times ours they take."""
        for what in dict.fromkeys(what for what, _ in self.rounds):
            ours = self.median(what, OURS)
            bar = self.bars.get(what)
            verdict = "" if bar is None else f"  bar {bar:g}: {'met' if ours <= bar else 'NOT MET'}"
            spread = self.rounds[what, OURS]
            print(f"{what:<58}{ours:>10.3f}  ({min(spread):.3f} to {max(spread):.3f}){verdict}")
            for other, who in self.rounds:
                if other == what and who != OURS:
                    theirs = self.median(what, who)
                    print(f"{'  ' + who:<58}{theirs:>10.3f}  {theirs / ours:.1f}× ours")


@contextmanager
def source(folder: Path, script: str) -> Iterator[Path]:
    """A folder of fifty files, one of them the script."""
    made = folder / "source"
    made.mkdir()
    for number in range(FILES - 1):
        (made / f"module_{number}.py").write_text(f"VALUE = {number}\n" * 100)
    (made / "train.py").write_text(script)
    yield made
    shutil.rmtree(made)


def submitted(experiment: Experiment, folder: Path) -> ScriptRun:
    run = experiment.submit(ScriptRunConfig(folder, script="train.py"))
    assert isinstance(run, ScriptRun)
    return run


def log_of(run: ScriptRun, path: str = LOG) -> str:
    return str(run.get_details_with_logs()["logFiles"].get(path, ""))


def measure_start(figures: Figures, experiment: Experiment, around: Path, rounds: int) -> None:
    """Until `submit` returns, and until the script's first line runs."""
    first = "seconds until the first line, beyond `python script.py`"
    with source(around, SAYS_WHEN) as folder:
        for _ in range(rounds):
            began = time.time()
            done = subprocess.run(
                [sys.executable, "train.py"], cwd=folder, stdout=subprocess.PIPE, text=True, check=True
            )
            plain = float(done.stdout) - began
            began = time.time()
            run = submitted(experiment, folder)
            figures.add("seconds until submit returns, 50 files", OURS, time.time() - began, 0.15)
            run.wait_for_completion()
            figures.add(first, OURS, float(log_of(run)) - began - plain, 0.3)
        peers = (*mlflow_run(folder, rounds), *with_submitit(rounds, around), *ray_job(folder, rounds))
        for who, took in peers:
            figures.add(first, who, took - plain)


def mlflow_run(folder: Path, rounds: int) -> Iterator[tuple[str, float]]:
    """MLflow's own way of running a folder, from the command line as its users do."""
    if find_spec("mlflow") is None or shutil.which("mlflow") is None:
        return
    (folder / "MLproject").write_text("name: p\nentry_points:\n  main:\n    command: python train.py\n")
    environment = {**os.environ, "MLFLOW_TRACKING_URI": f"sqlite:///{folder.parent}/mlflow.db"}
    for number in range(min(rounds, 3) + 1):
        began = time.time()
        command = ["mlflow", "run", ".", "--env-manager", "local"]
        done = subprocess.run(command, cwd=folder, env=environment, stdout=subprocess.PIPE, text=True, check=True)
        if number:  # the first makes its database
            yield MLFLOW, float(done.stdout.split()[-1]) - began


def with_submitit(rounds: int, around: Path) -> Iterator[tuple[str, float]]:
    if find_spec("submitit") is None:
        return
    import submitit

    executor = submitit.LocalExecutor(folder=around / "submitit")
    for _ in range(min(rounds, 3)):
        began = time.time()
        yield SUBMITIT, executor.submit(time.time).result() - began


def ray_job(folder: Path, rounds: int) -> Iterator[tuple[str, float]]:
    """A job of a Ray head on this machine, with the folder as its working directory."""
    if find_spec("ray") is None or shutil.which("ray") is None:
        return
    from ray.job_submission import JobSubmissionClient

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    options = ["--head", "--port=0", "--num-cpus=2", f"--dashboard-port={port}", "--disable-usage-stats"]
    subprocess.run(["ray", "start", *options], stdout=subprocess.DEVNULL, check=True)
    try:
        jobs = JobSubmissionClient(f"http://127.0.0.1:{port}")
        for _ in range(min(rounds, 3)):
            began = time.time()
            job = jobs.submit_job(entrypoint="python train.py", runtime_env={"working_dir": str(folder)})
            while not jobs.get_job_status(job).is_terminal():
                time.sleep(0.1)
            yield RAY, float(jobs.get_job_logs(job).split()[-1]) - began
    finally:
        subprocess.run(["ray", "stop"], stdout=subprocess.DEVNULL, check=True)


def measure_environment(figures: Figures, around: Path, rounds: int) -> None:
    """Until an environment that was built before is found again."""
    definition = {"python": {"condaDependencies": {"dependencies": ["python=3.11", {"pip": ["tomli"]}]}}}
    built: list[bytes] = []
    for number in range(rounds + 1):
        began = time.time()
        interpreter_of(definition, output=built.append, cache=around / "environments")
        if number:
            figures.add("seconds until a cached environment is found", OURS, time.time() - began, 0.1)
    if not built:
        raise RuntimeError("nothing was built at first")


def measure_lines(figures: Figures, experiment: Experiment, around: Path, count: int) -> None:
    """Until a line that is printed is seen by who waits for the run's output."""
    with source(around, TICKS.format(count=count)) as folder:
        run = submitted(experiment, folder)
        seen, took = "", []
        for path, chunk in GrowingLogs(run).until_its_end():
            now = time.time()
            if path == LOG:
                seen += chunk.decode()
                took += [now - float(line) for line in chunk.decode().split()]
        took.sort()
        figures.add("seconds until a printed line is seen, median", OURS, statistics.median(took), 0.1)
        figures.add("  p99", OURS, took[int(0.99 * len(took))], 0.3)
        if seen != log_of(run):
            raise RuntimeError("what was seen isn't what was logged")


def measure_cancel(figures: Figures, experiment: Experiment, around: Path, rounds: int) -> None:
    """Until all is gone of a script that ignores SIGTERM and has a child in a session of its own."""
    with source(around, STAYS) as folder:
        for _ in range(rounds):
            run = submitted(experiment, folder)
            while len(pids := log_of(run).split()) < 2:
                time.sleep(0.02)
            began = time.time()
            run.cancel()
            while any(Path(f"/proc/{pid}").exists() for pid in pids):
                time.sleep(0.01)
            beyond = time.time() - began - GRACE_S
            figures.add("seconds until a canceled script's tree is gone, beyond grace", OURS, beyond, 1.0)
            run.wait_for_completion()


def measure_large_log(figures: Figures, experiment: Experiment, around: Path, size_bytes: int) -> None:
    """A script that prints much, beside one that prints into a file; and the runner's memory."""
    what = f"seconds that a script prints for, {size_bytes // 1_000_000} MB"
    with source(around, WRITES.format(size=size_bytes)) as folder:
        for _ in range(3):
            with (around / "plain.txt").open("wb") as target:
                command = [sys.executable, "-u", "train.py"]
                done = subprocess.run(command, cwd=folder, stdout=target, stderr=subprocess.PIPE, text=True, check=True)
            figures.add(what, PYTHON, float(done.stderr))
            run = submitted(experiment, folder)
            figures.add("MB of the runner's memory meanwhile", OURS, memory_of_runner_mb(run))
            run.wait_for_completion()
            with run._records.files.open(run._container, LOG) as log:
                log.seek(-40, os.SEEK_END)
                figures.add(what, OURS, float(log.read().split()[-1]))
        (around / "plain.txt").unlink()


def memory_of_runner_mb(run: ScriptRun) -> float:
    """The most that the runner has used, while its script runs."""
    most = 0.0
    while run.get_status() not in ("Completed", "Failed"):
        for status in Path("/proc").glob("[0-9]*/status"):
            try:
                if run.id in (status.parent / "cmdline").read_text():
                    lines = dict(line.split(":", 1) for line in status.read_text().splitlines() if ":" in line)
                    most = max(most, int(lines["RssAnon"].split()[0]) / 1024)
            except (OSError, KeyError, ValueError):
                continue
        time.sleep(0.1)
    return most


def main() -> None:
    options = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    options.add_argument("--rounds", type=int, default=10)
    options.add_argument("--quick", action="store_true", help="three rounds, and a log of 100 MB in place of 1 GB")
    options.add_argument("--output", type=Path, default=Path("benchmarks/results/submit.json"))
    chosen = options.parse_args()
    rounds = 3 if chosen.quick else chosen.rounds
    figures = Figures()
    with tempfile.TemporaryDirectory(prefix="submit-benchmark-") as folder:
        around = Path(folder)
        experiment = Experiment(Workspace.create(around / "workspace"), "submitted")
        measure_start(figures, experiment, around, rounds)
        if shutil.which("uv") is not None:
            measure_environment(figures, around, rounds)
        measure_lines(figures, experiment, around, 40 if chosen.quick else 200)
        measure_cancel(figures, experiment, around, min(rounds, 3))
        measure_large_log(figures, experiment, around, 100_000_000 if chosen.quick else 1_000_000_000)
        experiment.workspace.close()
    figures.show()
    chosen.output.parent.mkdir(parents=True, exist_ok=True)
    report = [{"what": what, "who": who, "rounds": values} for (what, who), values in figures.rounds.items()]
    chosen.output.write_text(json.dumps({"cpus": os.cpu_count(), "rows": report}, indent=2) + "\n")
    print(f"Load: {os.getloadavg()[0]:.1f}. Written to {chosen.output}")


if __name__ == "__main__":
    main()
