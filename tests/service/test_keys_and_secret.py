"""Keys and the service's secret: made once, kept from others, told from what only looks like them."""

import hashlib
import multiprocessing
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from mlflow_amlstore.errors import AlreadyExists, InvalidValue, ReadOnly
from mlflow_amlstore.records.store import RecordStore
from mlflow_amlstore.service.keys import ROLES, check_key, new_key
from mlflow_amlstore.service.secret import local_key, service_secret
from mlflow_amlstore.workspace.opening import create_workspace


@pytest.fixture
def records(tmp_path: Path) -> Iterator[RecordStore]:
    opened = create_workspace(tmp_path / "ws")
    yield opened.records
    opened.close()


class TestKeys:
    @pytest.mark.parametrize("role", ROLES)
    def test_a_key_is_known_again(self, records: RecordStore, role: str) -> None:
        record, text = new_key(records, "ci", role)
        assert (record.name, record.role) == ("ci", role)
        assert check_key(records, text) == record

    def test_only_its_hash_is_kept(self, records: RecordStore, tmp_path: Path) -> None:
        record, text = new_key(records, "ci", "owner")
        assert re.fullmatch(r"amlk_[0-9a-f]{12}_[\w-]{43}", text, re.ASCII)
        secret = text.split("_", 2)[2]
        assert record.sha256 == hashlib.sha256(secret.encode()).hexdigest()
        for file in (tmp_path / "ws").iterdir():
            assert secret.encode() not in file.read_bytes()

    def test_one_that_is_revoked_is_none(self, records: RecordStore) -> None:
        record, text = new_key(records, "ci", "reader")
        records.keys.revoke(record.key_id)
        assert check_key(records, text) is None
        new_key(records, "ci", "reader")  # its name is free again

    def test_what_only_looks_like_one_is_none(self, records: RecordStore) -> None:
        record, text = new_key(records, "ci", "reader")
        _, other = new_key(records, "other", "reader")
        kind, key_id, secret = text.split("_", 2)
        forged = [
            "",
            text[:-1],
            f"{text}x",
            f"{text}\n",
            f" {text}",
            text.upper(),
            f"{kind}_{key_id}_{other.split('_', 2)[2]}",
            f"{kind}_{'0' * 12}_{secret}",
            f"{kind}_{key_id}_{record.sha256}",
            f"{kind}_{key_id}_",
            f"{kind}_local_{secret}",
            "amlk_' OR 1=1 --_x",
            "é" * 60,
        ]
        assert [text for text in forged if check_key(records, text) is not None] == []

    def test_a_name_is_given_once(self, records: RecordStore) -> None:
        new_key(records, "ci", "reader")
        with pytest.raises(AlreadyExists, match="Revoke it first"):
            new_key(records, "ci", "owner")

    @pytest.mark.parametrize(
        ("name", "role"), [("", "reader"), (" x", "reader"), ("a\n", "reader"), ("x" * 101, "reader"), ("a", "admin")]
    )
    def test_what_makes_no_sense_is_refused(self, records: RecordStore, name: str, role: str) -> None:
        with pytest.raises(InvalidValue):
            new_key(records, name, role)
        assert records.keys.list_keys() == []


class TestSecret:
    def test_is_made_once_for_this_user_alone(self, tmp_path: Path) -> None:
        secret = service_secret(tmp_path)
        assert len(secret) == 32
        assert service_secret(tmp_path) == secret
        (file,) = (tmp_path / "service").iterdir()
        assert (file.name, file.stat().st_mode & 0o777) == ("secret", 0o600)
        assert file.parent.stat().st_mode & 0o777 == 0o700

    def test_is_one_though_many_processes_begin_at_once(self, tmp_path: Path) -> None:
        with multiprocessing.get_context("spawn").Pool(4) as pool:
            secrets = pool.map(service_secret, [tmp_path] * 32, chunksize=1)
        assert len(set(secrets)) == 1
        assert [file.name for file in (tmp_path / "service").iterdir()] == ["secret"]

    def test_is_refused_where_others_can_read_it(self, tmp_path: Path) -> None:
        service_secret(tmp_path)
        (tmp_path / "service" / "secret").chmod(0o604)
        with pytest.raises(InvalidValue, match="chmod 600"):
            service_secret(tmp_path)

    def test_is_refused_where_it_was_cut(self, tmp_path: Path) -> None:
        service_secret(tmp_path)
        (tmp_path / "service" / "secret").write_bytes(b"")
        with pytest.raises(InvalidValue, match="delete it"):
            service_secret(tmp_path)

    def test_where_the_folder_cannot_be_written(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        def refuse(*_: object, **__: object) -> None:
            raise PermissionError(13, "Permission denied")

        monkeypatch.setattr(Path, "mkdir", refuse)
        with pytest.raises(ReadOnly):
            service_secret(tmp_path)

    def test_the_local_key_follows_from_it(self) -> None:
        key = local_key(b"a" * 32)
        assert re.fullmatch(r"amlk_local_[\w-]{43}", key, re.ASCII)
        assert local_key(b"a" * 32) == key
        assert local_key(b"b" * 32) != key
