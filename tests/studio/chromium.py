"""Find Debian's Chromium, or install it: `python tests/studio/chromium.py` prints where it is."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

NAMES = ("chromium", "chromium-browser", "google-chrome")
ARGUMENTS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
)


def find() -> str | None:
    """The path of the browser that this machine has: that of AMLSTORE_CHROMIUM, or one by a usual name."""
    given = os.environ.get("AMLSTORE_CHROMIUM")
    return given or next(filter(None, map(shutil.which, NAMES)), None)


def install() -> None:
    """Install it with apt, as root or by sudo. Raises CalledProcessError."""
    sudo = [] if os.geteuid() == 0 else ["sudo", "--non-interactive"]
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    for command in (["update"], ["install", "--yes", "--no-install-recommends", "chromium", "fonts-dejavu-core"]):
        apt = [*sudo, "apt-get", "--quiet", "--quiet", *command]
        subprocess.run(apt, check=True, stdout=subprocess.DEVNULL, env=environment)


def main() -> None:
    if find() is None:
        if not Path("/usr/bin/apt-get").exists():
            sys.exit("Studio's tests need Chromium: install it, or name it in AMLSTORE_CHROMIUM")
        install()
    print(find())


if __name__ == "__main__":
    main()
