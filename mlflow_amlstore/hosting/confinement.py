"""What a scoring process may do on this machine, set up before it starts.

    python -I -S confinement.py '{"hidden": […], "writable": […], "command": […], …}'

Models and scoring scripts run code that somebody else may have written. So their process can read nothing of the
workspace, of this user's keys or of other processes, and write nothing but its own folder: by Landlock, a part of Linux
since 5.13 (https://docs.kernel.org/userspace-api/landlock.html). Landlock allows folders; what is to be hidden is left
out by allowing all that lies beside it. Standard library alone: this file is run, and not imported by what it starts.
"""

import ctypes
import json
import os
import resource
import signal
import struct
import sys

_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446  # the same on every architecture
_VERSION_ONLY = 1
_PATH_BENEATH = 1
_EXECUTE, _WRITE_FILE, _READ_FILE, _READ_DIR = 1, 2, 4, 8
_READ = _EXECUTE | _READ_FILE | _READ_DIR
_REFER, _TRUNCATE, _IOCTL = 1 << 13, 1 << 14, 1 << 15
_OF_FILES = _EXECUTE | _WRITE_FILE | _READ_FILE | _TRUNCATE | _IOCTL
_FIRST_ABI = (1 << 13) - 1
_DIES_WITH_PARENT, _NO_NEW_PRIVILEGES = 1, 38  # prctl(2)
_DEVICES = "/dev"


def main() -> None:
    """Confine this process, and become the command."""
    told = json.loads(sys.argv[1])
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(_DIES_WITH_PARENT, signal.SIGTERM, 0, 0, 0)
    if os.getppid() != told["parent"]:
        sys.exit(1)
    if told["memory_bytes"]:
        resource.setrlimit(resource.RLIMIT_DATA, (told["memory_bytes"], told["memory_bytes"]))
    if told["cpus"]:
        os.sched_setaffinity(0, told["cpus"])
    problem = _confine(libc, told["hidden"], [*told["writable"], _DEVICES])
    if problem:
        print(f"This system can't confine the process ({problem}): it could read and write as this user", flush=True)  # noqa: T201
    command = told["command"]
    os.execv(command[0], command)


def _confine(libc: ctypes.CDLL, hidden: list[str], writable: list[str]) -> str:
    """Apply Landlock for the rest of this process's life. Returns why it can't be had, or ""."""
    version = libc.syscall(_CREATE_RULESET, None, 0, _VERSION_ONLY)
    if version < 1:
        return f"Landlock: {os.strerror(ctypes.get_errno())}"
    handled = _FIRST_ABI
    for since, right in ((2, _REFER), (3, _TRUNCATE), (5, _IOCTL)):
        handled |= right if version >= since else 0
    attribute = ctypes.create_string_buffer(struct.pack("Q", handled))
    ruleset = libc.syscall(_CREATE_RULESET, attribute, 8, 0)
    if ruleset < 0:
        return f"Landlock: {os.strerror(ctypes.get_errno())}"
    for path in _beside(os.sep, [*map(os.path.realpath, hidden), *_other_processes()]):
        _allow(libc, ruleset, path, _READ & handled)
    for path in writable:
        _allow(libc, ruleset, path, handled)
    libc.prctl(_NO_NEW_PRIVILEGES, 1, 0, 0, 0)
    if libc.syscall(_RESTRICT_SELF, ruleset, 0):
        return f"Landlock: {os.strerror(ctypes.get_errno())}"
    os.close(ruleset)
    return ""


def _other_processes() -> list[str]:
    """What the system tells of other processes: their environments may have keys. Landlock alone doesn't hide them."""
    mine = str(os.getpid())
    return [f"/proc/{name}" for name in os.listdir("/proc") if name.isdigit() and name != mine]  # noqa: PTH208


def _beside(folder: str, hidden: list[str]) -> list[str]:
    """The paths that together are all of a folder but for what is hidden, as far as this user can see it."""
    below = [path for path in hidden if path == folder or path.startswith(folder.rstrip(os.sep) + os.sep)]
    if not below:
        return [folder]
    if folder in below:
        return []
    try:
        names = os.listdir(folder)  # noqa: PTH208
    except OSError:
        return []
    paths = [os.path.join(folder, name) for name in names]  # noqa: PTH118
    return [inner for path in paths if not os.path.islink(path) for inner in _beside(path, below)]  # noqa: PTH114


def _allow(libc: ctypes.CDLL, ruleset: int, path: str, rights: int) -> None:
    try:
        descriptor = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except OSError:  # it has gone, or this user can't reach it
        return
    try:
        if not os.path.isdir(path):  # noqa: PTH112
            rights &= _OF_FILES
        rule = ctypes.create_string_buffer(struct.pack("=Qi", rights, descriptor))
        libc.syscall(_ADD_RULE, ruleset, _PATH_BENEATH, rule, 0)
    finally:
        os.close(descriptor)


if __name__ == "__main__":
    main()
