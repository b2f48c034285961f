"""Keys of a service, as a record store keeps them."""

from dataclasses import replace

import pytest

from mlflow_amlstore.errors import AlreadyExists, NotFound
from mlflow_amlstore.records.store import RecordStore
from mlflow_amlstore.records.types import KeyRecord

KEY = KeyRecord("k1", "ci", "contributor", "a" * 64, created_ms=5, revoked_ms=None)


def test_a_key_is_found_by_its_id_and_listed(records: RecordStore) -> None:
    other = replace(KEY, key_id="k0", name="laptop", created_ms=6)
    records.keys.add(KEY)
    records.keys.add(other)

    assert records.keys.find("k1") == KEY
    assert records.keys.find("k2") is None
    assert records.keys.list_keys() == [KEY, other]


def test_a_revoked_key_stays_listed_with_the_time_and_its_name_is_free_again(records: RecordStore) -> None:
    records.keys.add(KEY)
    records.keys.revoke("k1")
    revoked = records.keys.find("k1")
    records.keys.revoke("k1")

    assert revoked == replace(KEY, revoked_ms=1_700_000_000_000)
    assert records.keys.find("k1") == revoked
    records.keys.add(replace(KEY, key_id="k2"))


def test_an_active_name_or_a_known_id_is_refused(records: RecordStore) -> None:
    records.keys.add(KEY)

    with pytest.raises(AlreadyExists, match=r"Key 'ci' already exists\. Revoke it first, or choose another name"):
        records.keys.add(replace(KEY, key_id="k2"))
    with pytest.raises(AlreadyExists):
        records.keys.add(replace(KEY, name="laptop"))


def test_revoking_what_isnt_there_is_refused(records: RecordStore) -> None:
    with pytest.raises(NotFound, match="Key 'k9' not found"):
        records.keys.revoke("k9")
