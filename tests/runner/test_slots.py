"""Slots: so many runs of a target run at a time, in the order in which they came; whoever is killed gives its up."""

import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from mlflow_amlstore.runner.slots import Slot, Slots, waiting

HOLDER = """
import sys, time
from pathlib import Path
from mlflow_amlstore.runner.slots import Slots
def waits(before):
    print(before, flush=True)
    return True
slots = Slots(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]))
slot = slots.take(slots.line_up(), waits=waits)
print("has it", flush=True)
sys.stdin.readline()
"""


def holder(folder: Path, count: int, target: str = "local") -> "subprocess.Popen[str]":
    """A process that takes a slot, and holds it till it is told to end."""
    return subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(folder), target, str(count)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def next_line(process: "subprocess.Popen[str]") -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def wait_for_slot(process: "subprocess.Popen[str]") -> None:
    while (line := next_line(process)) != "has it":
        assert line.isdecimal()


def wait_until_waiting(folder: Path, count: int) -> None:
    while waiting(folder, "local") != count:
        time.sleep(0.01)


def end(process: "subprocess.Popen[str]") -> None:
    process.communicate("\n")


def test_as_many_as_there_are_slots_run_and_the_others_wait_in_their_order(tmp_path: Path) -> None:
    running = [holder(tmp_path, 2) for _ in range(2)]
    for process in running:
        wait_for_slot(process)
    third = holder(tmp_path, 2)
    wait_until_waiting(tmp_path, 1)
    fourth = holder(tmp_path, 2)
    wait_until_waiting(tmp_path, 2)
    assert next_line(third) == "0"  # nobody waits before it
    assert next_line(fourth) == "1"
    end(running[1])
    wait_for_slot(third)
    assert waiting(tmp_path, "local") == 1
    for process in (running[0], third, fourth):
        end(process)
    assert waiting(tmp_path, "local") == 0


@pytest.mark.parametrize("which", ["running", "first in the queue"])
def test_who_is_killed_holds_nobody_up(tmp_path: Path, which: str) -> None:
    running = holder(tmp_path, 1)
    wait_for_slot(running)
    first = holder(tmp_path, 1)
    wait_until_waiting(tmp_path, 1)
    second = holder(tmp_path, 1)
    wait_until_waiting(tmp_path, 2)
    killed, other = (running, first) if which == "running" else (first, second)
    killed.send_signal(signal.SIGKILL)
    killed.wait()
    if which != "running":
        end(running)
    wait_for_slot(other)
    for process in (running, first, second):
        process.kill()
        process.communicate()


def take(folder: Path, target: str, waits: Callable[[int], bool] = lambda before: False) -> Slot | None:
    slots = Slots(folder, target, 1)
    return slots.take(slots.line_up(), waits=waits)


def test_who_gives_up_its_place_gets_none(tmp_path: Path) -> None:
    taken = take(tmp_path, "a/b")
    assert taken is not None
    assert take(tmp_path, "a/b") is None
    assert waiting(tmp_path, "a/b") == 0
    taken.release()
    assert take(tmp_path, "a/b") is not None


def test_who_lined_up_first_is_first_whoever_asks_first(tmp_path: Path) -> None:
    slots = Slots(tmp_path, "local", 1)
    first, second = slots.line_up(), slots.line_up()
    assert slots.take(second, waits=lambda before: before != 1) is None  # one is before it
    assert slots.take(first, waits=lambda _: False) is not None


def test_targets_have_slots_of_their_own(tmp_path: Path) -> None:
    assert take(tmp_path, "one") is not None
    assert take(tmp_path, "other") is not None
