"""`amlstore keys create|list|revoke`, on a workspace's folder, and what a running service makes of it."""

import json
import re
import time
from pathlib import Path
from urllib.error import HTTPError

import pytest
from forked_service import ForkedService

from mlflow_amlstore.service.keys import check_key
from mlflow_amlstore.workspace.opening import EmbeddedWorkspace

from .conftest import Amlstore


def test_create_prints_a_key_and_nothing_else(amlstore: Amlstore, workspace: EmbeddedWorkspace) -> None:
    result = amlstore("keys", "create", "ci", "--role", "reader")
    assert (result.exit_code, result.err) == (0, "")
    assert re.fullmatch(r"amlk_[0-9a-f]{12}_[\w-]{43}\n", result.out)
    known = check_key(workspace.records, result.out.strip())
    assert known is not None
    assert (known.name, known.role) == ("ci", "reader")


def test_a_contributors_unless_told_otherwise(amlstore: Amlstore, workspace: EmbeddedWorkspace) -> None:
    amlstore("keys", "create", "ci")
    assert [key.role for key in workspace.records.keys.list_keys()] == ["contributor"]


def test_list_shows_all_and_never_a_key(amlstore: Amlstore) -> None:
    text = amlstore("keys", "create", "ci").out.strip()
    amlstore("keys", "create", "notebook", "--role", "owner")
    amlstore("keys", "revoke", "ci")
    listed = amlstore("keys", "list")
    heads, first, second = listed.rows
    assert heads == ["key_id", "name", "role", "created", "revoked"]
    assert first[1:3] == ["ci", "contributor"]
    assert all(re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d", moment) for moment in (first[3], first[4], second[3]))
    assert (second[1:3], second[4]) == (["notebook", "owner"], "")
    as_json = amlstore("keys", "list", "--json")
    assert [key["name"] for key in json.loads(as_json.out)] == ["ci", "notebook"]
    assert text.split("_", 2)[2] not in listed.out + as_json.out


def test_revoke_takes_a_name_or_an_id(amlstore: Amlstore, workspace: EmbeddedWorkspace) -> None:
    texts = [amlstore("keys", "create", name).out.strip() for name in ("a", "b")]
    key_id = texts[1].split("_")[1]
    assert amlstore("keys", "revoke", "a").out == f"Revoked key {texts[0].split('_')[1]} (a)\n"
    assert amlstore("keys", "revoke", key_id).out == f"Revoked key {key_id} (b)\n"
    assert [check_key(workspace.records, text) for text in texts] == [None, None]
    assert amlstore("keys", "create", "a").exit_code == 0


@pytest.mark.parametrize("name", ["none", "amlk_local_x"])
def test_revoking_what_is_not_there(amlstore: Amlstore, name: str) -> None:
    result = amlstore("keys", "revoke", name)
    assert (result.exit_code, result.out) == (1, "")
    assert result.err == f"amlstore: Key '{name}' not found. `amlstore keys list` lists them\n"


def test_a_name_twice_and_a_role_that_is_none(amlstore: Amlstore) -> None:
    amlstore("keys", "create", "ci")
    result = amlstore("keys", "create", "ci")
    assert (result.exit_code, result.out) == (1, "")
    assert "Key 'ci' already exists" in result.err
    result = amlstore("keys", "create", "other", "--role", "admin")
    assert (result.exit_code, result.out) == (2, "")
    assert "'admin' is not one of 'agent', 'reader', 'contributor', 'submitter', 'owner'" in result.err


def test_another_workspace_is_meant_by_option(amlstore: Amlstore, workspace: EmbeddedWorkspace, tmp_path: Path) -> None:
    assert amlstore("keys", "create", "ci", "-w", "ws", folder=tmp_path).exit_code == 0
    assert [key.name for key in workspace.records.keys.list_keys()] == ["ci"]


@pytest.mark.parametrize("command", ["create", "list", "revoke"])
def test_every_command_explains_itself(amlstore: Amlstore, command: str) -> None:
    result = amlstore("keys", command, "--help")
    assert (result.exit_code, result.err) == (0, "")
    assert result.out.startswith(f"Usage: amlstore keys {command} ")
    assert max(map(len, result.out.splitlines())) <= 80


def test_a_running_service_takes_keys_up_and_drops_them(amlstore: Amlstore, tmp_path: Path) -> None:
    get = ("GET", "/api/2.0/mlflow/experiments/get?experiment_id=0")
    with ForkedService(tmp_path) as service:
        key = amlstore("keys", "create", "ci", "-w", str(service.folder)).out.strip()
        token = service.exchange(key)
        assert service.call(*get, token)["experiment"]["name"] == "Default"
        amlstore("keys", "revoke", "ci", "-w", str(service.folder))
        with pytest.raises(HTTPError, match="401"):
            service.exchange(key)
        time.sleep(0.6)  # a revocation is noticed within half a second
        with pytest.raises(HTTPError, match="401"):
            service.call(*get, token)
