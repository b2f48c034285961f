"""`amlstore studio` and `amlstore open`: a link that signs in once, whatever state the folder and the ports are in."""

import os
import re
import signal
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import requests
from fork_server import AMLSTORE, ForkedProcess, run_forked
from ordinary_rights import AMLSTORE_AS_ORDINARY_USER, without_roots_rights

from mlflow_amlstore.core import Workspace


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home folder of the test's own, in which a running Studio announces itself."""
    for name in ("XDG_STATE_HOME", "XDG_CONFIG_HOME"):
        monkeypatch.setenv(name, str(tmp_path / "home" / name))
    return tmp_path


@contextmanager
def studio(folder: Path, *options: str, command: tuple[str, ...] = AMLSTORE) -> Iterator[str]:
    """A running Studio's first line."""
    arguments = [*command, "studio", str(folder), "--no-open", *options]
    with ForkedProcess(arguments, cwd=folder.parent, stdout=subprocess.PIPE, env=dict(os.environ)) as process:
        assert process.stdout is not None
        try:
            yield process.stdout.readline().strip()
        finally:
            process.send_signal(signal.SIGINT)
            assert process.wait(60) == 0


def opened(*arguments: str | Path, command: tuple[str, ...] = AMLSTORE) -> subprocess.CompletedProcess[str]:
    return run_forked([*command, *map(str, arguments)], timeout=60)


@contextmanager
def read_only(folder: Path) -> Iterator[None]:
    """A folder in which nobody may write, and which has the same files afterwards."""
    with without_roots_rights():
        pass  # or it skips
    places = [folder, *folder.rglob("*")]
    for place in places:
        place.chmod(0o555 if place.is_dir() else 0o444)
    yield
    for place in places:
        place.chmod(0o755 if place.is_dir() else 0o600)
    assert sorted(folder.rglob("*")) == sorted(places[1:])


def signs_in(link: str) -> bool:
    answer = requests.get(link)
    return answer.status_code == 200 and "amlstore-session" in answer.headers["Set-Cookie"]


def test_the_first_line_is_a_link_that_signs_in_and_an_empty_folder_becomes_a_workspace(home: Path) -> None:
    folder = home / "new one"
    folder.mkdir()
    with studio(folder) as link:
        parts = urlsplit(link)
        assert (parts.scheme, parts.hostname, parts.path) == ("http", "127.0.0.1", "/sign-in")
        assert signs_in(link)
        assert not signs_in(link)
    assert (folder / "config.json").is_file()


def test_a_workspace_that_is_made_is_said(home: Path) -> None:
    folder = home / "new one"
    folder.mkdir()
    with socket.create_server(("127.0.0.1", 0)) as taken:  # so that it ends by itself, when the workspace is there
        done = opened("studio", folder, "--no-open", "--port", taken.getsockname()[1])
    assert done.stderr.startswith(f"Made a workspace in {folder}\n")
    assert done.stdout == ""


def test_a_folder_that_does_not_exist_is_an_error_and_stays_so(home: Path) -> None:
    folder = home / "mistyped"
    done = opened("studio", folder, "--no-open")
    assert done.returncode == 2
    assert str(folder) in done.stderr
    assert f"`amlstore init {folder}` makes a workspace there, or make the folder first" in done.stderr
    assert not folder.exists()


def test_of_a_file_it_is_said_that_a_folder_is_expected(home: Path) -> None:
    script = home / "train.py"
    script.write_text("print(1)\n", encoding="utf-8")
    done = opened("studio", script, "--no-open")
    assert done.returncode == 2
    assert f"Invalid value '{script}' for DIR: this is a file; give the workspace's folder" in done.stderr
    assert "JSON" not in done.stderr


def test_open_gives_another_link_to_a_runs_page(home: Path) -> None:
    folder = home / "workspace"
    folder.mkdir()
    with studio(folder):
        workspace = Workspace.from_config(folder)
        run = workspace.experiments["Default"].start_logging()
        run.complete()
        address = run.get_portal_url()
        assert address.startswith("http://127.0.0.1:")  # of the Studio that runs
        assert urlsplit(address).path == f"/runs/{run.id}"
        for named in (run.id, run.id[:8], address):
            done = opened("open", named, "-w", folder, "--no-open")
            assert done.returncode == 0, done.stderr
            answer = requests.get(done.stdout.strip())
            assert answer.status_code == 200
            assert f"./runs/{run.id}" in answer.text
    embedded = run.get_portal_url()
    assert embedded.startswith("amlstore://")
    done = opened("open", embedded, "--no-open")
    assert done.returncode == 1
    assert f"`amlstore studio {folder}` starts one" in done.stderr


@pytest.mark.skipif(os.name != "posix", reason="permissions are tested as POSIX has them")
@pytest.mark.parametrize("was_served", [False, True], ids=["never served", "served by another user"])
def test_a_folder_that_may_only_be_read_is_opened(home: Path, was_served: bool) -> None:
    folder = home / "workspace"
    workspace = Workspace.create(folder)
    run = workspace.experiments["Default"].start_logging(snapshot_directory=None)
    run.complete()
    workspace.close()
    if was_served:
        (folder / "service").mkdir()
        (folder / "service" / "secret").write_bytes(b"x" * 32)
    with read_only(folder):
        if was_served:
            (folder / "service").chmod(0)  # as another user's
        with studio(folder, command=AMLSTORE_AS_ORDINARY_USER) as link:
            with requests.Session() as session:
                assert session.get(link).status_code == 200
                base = link.partition("/sign-in")[0]
                page = session.get(f"{base}/runs/{run.id}")
                assert (page.status_code, run.id in page.text) == (200, True)
                [form_token] = re.findall(r'name="form-token" content="([^"]*)"', page.text)
                headers = {"X-Form-Token": form_token}
                refused = session.post(f"{base}/runs/{run.id}/note", json={"note": "n"}, headers=headers)
                assert (refused.status_code, "is read-only for this user" in refused.text) == (403, True)
            done = opened("open", run.id[:8], "-w", folder, "--no-open", command=AMLSTORE_AS_ORDINARY_USER)
            assert done.returncode == 0, done.stderr
            assert signs_in(done.stdout.strip())
        if was_served:
            (folder / "service").chmod(0o755)


@pytest.mark.parametrize("place", ["folder", "service"])
def test_a_run_that_is_opened_is_found_as_other_commands_find_it(home: Path, place: str) -> None:
    folder = home / "workspace"
    folder.mkdir()
    with studio(folder) as link:
        workspace = Workspace.from_config(folder)
        runs = [
            workspace.experiments["Default"].start_logging(snapshot_directory=None) for _ in range(17)
        ]  # of which two begin alike
        for run in runs:
            run.complete()
        where = ("-w", folder) if place == "folder" else ("--url", link.partition("/sign-in")[0])
        found = opened("open", runs[0].id[:12], *where, "--no-open")
        assert found.returncode == 0, found.stderr
        assert f"./runs/{runs[0].id}" in requests.get(found.stdout.strip()).text

        firsts = [run.id[0] for run in runs]
        [several, *_] = [first for first in firsts if firsts.count(first) > 1]
        for wrong in ("nothing-begins-so", several, "a b"):
            refused, shown = opened("open", wrong, *where, "--no-open"), opened("show", wrong, *where)
            assert refused.stdout == ""
            assert (refused.returncode, refused.stderr) == (shown.returncode, shown.stderr)
            assert refused.returncode != 0
            assert wrong in refused.stderr


def test_a_second_studio_on_a_folder_gives_a_link_to_the_first(home: Path) -> None:
    folder = home / "workspace"
    folder.mkdir()
    with studio(folder, "--port", "0") as first:
        done = opened("studio", folder, "--no-open")
        assert done.returncode == 0, done.stderr
        assert urlsplit(done.stdout.strip()).port == urlsplit(first).port
        assert signs_in(done.stdout.strip())


def test_a_port_that_was_asked_for_and_is_taken_is_told(home: Path) -> None:
    (home / "workspace").mkdir()
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = opened("studio", home / "workspace", "--no-open", "--port", port)
    assert done.returncode == 2
    assert f"'{port}'" in done.stderr or str(port) in done.stderr


def test_of_a_workspace_of_azure_ml_the_portal_is_opened(home: Path) -> None:
    (home / "config.json").write_text(
        '{"subscription_id": "s", "resource_group": "g", "workspace_name": "w"}', encoding="utf-8"
    )
    done = opened("studio", home, "--no-open")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("https://ml.azure.com/?wsid=/subscriptions/s/resourceGroups/g/")


def test_of_a_service_its_studio_is_opened(home: Path) -> None:
    served, client = home / "served", home / "client"
    client.mkdir()
    served.mkdir()
    with studio(served) as link:
        parts = urlsplit(link)
        (client / "config.json").write_text(f'{{"service_url": "http://{parts.netloc}"}}', encoding="utf-8")
        done = opened("studio", client, "--no-open")
        assert done.returncode == 0, done.stderr
        assert signs_in(done.stdout.strip())
