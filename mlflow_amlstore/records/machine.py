"""Which machine this is, so that what another one does is never judged here.

A container counts as a machine of its own: it has a name of its own.
"""

import hashlib
import os
import uuid
from functools import cache
from pathlib import Path

_MACHINE_ID, _BOOT_ID = Path("/etc/machine-id"), Path("/proc/sys/kernel/random/boot_id")
_UNKNOWN = "-"


@cache
def this_machine() -> str:
    """What tells this machine, since it was started, from others: its name, its id, and the id of its start.

    The ids are hashed, as machine-id(5) asks of who shows them to others. Where the system doesn't number its starts
    (macOS), a network card's address stands for the machine, and its restarts aren't known.
    """
    machine, boot = _id_in(_MACHINE_ID), _id_in(_BOOT_ID)
    if boot == _UNKNOWN and machine == _UNKNOWN:
        machine = _hashed(f"{uuid.getnode():012x}")
    return f"{os.uname().nodename or _UNKNOWN} {machine} {boot}"


def was_restarted_since(machine: str) -> bool:
    """Whether a text of `this_machine` is from this machine before its last start. False where that isn't certain."""
    former, now = machine.split(" "), this_machine().split(" ")
    return len(former) == 3 and former[:2] == now[:2] and _UNKNOWN not in now + former and former[2] != now[2]


def _id_in(file: Path) -> str:
    try:
        text = file.read_bytes().decode(errors="replace").strip()
    except OSError:
        return _UNKNOWN
    return _hashed(text) if text and text != "uninitialized" else _UNKNOWN


def _hashed(text: str) -> str:
    return hashlib.sha256(f"mlflow-amlstore {text}".encode()).hexdigest()[:16]
