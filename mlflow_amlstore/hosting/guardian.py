"""The process that keeps an endpoint's host running. It is small, and holds what must not be lost: lock and socket.

Clients that come while the host is away wait at the socket, and aren't refused. Where this process is killed, its host
starts another one, and hands both over.
"""

import os
import signal
import socket
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

from mlflow_amlstore.hosting.endpoint_folder import EndpointFolder, Launch

BACKLOG = 2048
HOST_CODE = "import sys; sys.path[0] = sys.argv[1]; from mlflow_amlstore.hosting.{module} import main; main()"
"""What Python is given to be a guardian or a host: the folder of this package, the endpoint's folder, descriptors."""
_PACKAGES = Path(__file__).parent.parent.parent
_LONGEST_PAUSE_S = 30.0
_WELL_S = 60.0  # a host that ran so long begins again without a pause


def start_guardian(folder: EndpointFolder, lock: int, listening: int | None = None) -> int:
    """Start the guardian of a folder in a session of its own, and return its process id. Close the lock here."""
    kept = [lock] if listening is None else [lock, listening]
    process = subprocess.Popen(
        [*command("guardian", folder), *map(str, kept)],
        cwd="/",  # which nobody can take away from under it
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
        pass_fds=kept,
    )
    process.returncode = 0  # it isn't waited for: Python would warn of that
    return process.pid


def command(module: str, folder: EndpointFolder) -> list[str]:
    """The command of one of an endpoint's processes, without its descriptors."""
    return [sys.executable, "-c", HOST_CODE.format(module=module), str(_PACKAGES), str(folder.path)]


def main() -> None:
    """Run the host until it has done its work: the endpoint is gone, or isn't this machine's any more."""
    folder = EndpointFolder(Path(sys.argv[2]))
    lock = int(sys.argv[3])
    listening = socket.socket(fileno=int(sys.argv[4])) if len(sys.argv) > 4 else _listen(folder)
    # The host ends in order at SIGTERM, and takes its time; this process waits for it.
    alive, mine = os.pipe()
    child: subprocess.Popen[bytes] | None = None

    def end(*_: object) -> None:
        if child is not None:
            child.send_signal(signal.SIGTERM)

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, end)
    pause_s = 0.0
    while True:
        began = time.monotonic()
        passed = [lock, listening.fileno(), alive]
        child = subprocess.Popen([*command("host", folder), *map(str, passed)], pass_fds=passed)
        code = child.wait()
        if code == 0:
            break
        pause_s = 0.0 if time.monotonic() - began > _WELL_S else min(_LONGEST_PAUSE_S, 2 * pause_s + 0.05)
        time.sleep(pause_s)
    os.close(mine)


def _listen(folder: EndpointFolder) -> socket.socket:
    """The public socket: on the port of the time before, so that a scoring URI stays what it is."""
    launch = folder.read()
    try:
        listening = socket.create_server((launch.host, launch.port), backlog=BACKLOG)
    except OSError:
        if not launch.port:
            raise
        listening = socket.create_server((launch.host, 0), backlog=BACKLOG)
    folder.write(replace(launch, port=listening.getsockname()[1]))
    return listening


__all__ = ["Launch", "main", "start_guardian"]
