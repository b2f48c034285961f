"""Make the workspace that tests keep of a database's revision, and record what is in it.

    python tests/compatibility/make_workspace.py [COMMIT]

Without COMMIT the code is that of the working tree. Writes workspaces/REVISION.zip beside this script: the workspace's
folder, and recorded.json, which is what that code itself reads there. Run it with each new migration; before the next
one, run it with the last commit that had this one.
"""

import json
import sqlite3
import sys
import tempfile
import zipfile
from contextlib import closing
from pathlib import Path

from earlier_code import ROOT, Code, CodeProcess

WORKSPACES = Path(__file__).with_name("workspaces")
_NAME = "fixture"


def make(commit: str | None, around: Path) -> Path:
    """Make a workspace with a commit's code in the folder `around`, and the zip file of it, whose path is returned."""
    code = Code.of_commit(commit, around / "code") if commit else Code(ROOT)
    folder = around / "workspace"
    with CodeProcess(code, around / "home") as process:
        process.call("fill", folder, _NAME)
        keys = {}
        if "keys" in process.call("read", folder)["command line"]:
            for name in ("ana", "revoked"):
                keys[name] = process.call("amlstore", "keys", "create", name, "-w", folder).strip()
            process.call("amlstore", "keys", "revoke", "revoked", "-w", folder)
        recorded = {**process.call("read", folder), "key texts": keys, "commit": commit}
    with closing(sqlite3.connect(folder / "records.db")) as connection:
        ((revision,),) = connection.execute("SELECT version_num FROM alembic_version")
    target = WORKSPACES / f"{revision}.zip"
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as zipped:
        for path in sorted(path for path in folder.rglob("*") if path.is_file() and not path.name.endswith("-shm")):
            zipped.write(path, path.relative_to(around))
        zipped.writestr("recorded.json", json.dumps(recorded, indent=1, sort_keys=True, ensure_ascii=False))
    return target


def main() -> None:
    with tempfile.TemporaryDirectory() as temporary:
        around = Path(temporary).resolve()
        made = make(sys.argv[1] if sys.argv[1:] else None, around)
    print(f"{made}: {made.stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    main()
