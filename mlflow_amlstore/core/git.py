"""Which commit of a git work tree a folder is at."""

import subprocess
from contextlib import suppress
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

_LONGEST_S = 5.0


def git_properties(folder: Path) -> dict[str, str]:
    """Repository, branch, commit and dirtiness, under the names that Azure ML's SDK gives them; none outside of git.

    A password in the repository's address is left out.
    """
    if not any((place / ".git").exists() for place in (folder, *folder.resolve().parents)):
        return {}
    commit = _git(folder, "rev-parse", "HEAD")
    if not commit:
        return {}
    address = _without_password(_git(folder, "remote", "get-url", "origin"))
    branch = _git(folder, "symbolic-ref", "--short", "-q", "HEAD")
    is_dirty = bool(_git(folder, "status", "--porcelain", "--", "."))
    found = {
        "azureml.git.repository_uri": address,
        "mlflow.source.git.repoURL": address,
        "azureml.git.branch": branch,
        "mlflow.source.git.branch": branch,
        "azureml.git.commit": commit,
        "mlflow.source.git.commit": commit,
        "azureml.git.dirty": str(is_dirty),
    }
    return {name: value for name, value in found.items() if value}


def _git(folder: Path, *arguments: str) -> str:
    with suppress(OSError, subprocess.TimeoutExpired):
        done = subprocess.run(
            ["git", "-C", str(folder), *arguments], capture_output=True, text=True, timeout=_LONGEST_S, check=False
        )
        return done.stdout.strip() if done.returncode == 0 else ""
    return ""


def _without_password(address: str) -> str:
    parts = urlsplit(address)
    if "@" not in parts.netloc or not parts.scheme:
        return address
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))
