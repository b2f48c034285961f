"""Tracking URIs: read, issued and compared."""

import os
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest

from mlflow_amlstore.errors import TrackingUriInvalid
from mlflow_amlstore.workspace.tracking_uri import Issuer, TrackingUri, embedded_root, parse

NOON = datetime(2026, 1, 31, 12, tzinfo=timezone.utc)
SERVICE = (
    "azureml://host.example:8443/mlflow/v2.0/subscriptions/SUB/resourceGroups/RG/providers/"
    "Microsoft.MachineLearningServices/workspaces/WS"
)


class Clock:
    """A clock that tests set."""

    def __init__(self) -> None:
        self.now = NOON

    def __call__(self) -> datetime:
        return self.now


def test_an_embedded_uri_names_its_folder_and_when_it_expires(tmp_path: Path) -> None:
    uri = parse(f"amlstore://{tmp_path}?expires=2026-01-31T13:00:00Z")

    assert uri == TrackingUri("amlstore", f"amlstore://{tmp_path}", NOON + timedelta(hours=1), None)
    assert uri.folder == tmp_path
    assert str(uri) == f"amlstore://{tmp_path}?expires=2026-01-31T13:00:00Z"


def test_a_service_uri_keeps_its_token_out_of_its_repr() -> None:
    uri = parse(f"{SERVICE}?expires=2026-01-31T13:00:00Z&token=c2VjcmV0%2B%2F%3D")

    assert (uri.scheme, uri.root, uri.token) == ("azureml", SERVICE, "c2VjcmV0+/=")
    assert parse(str(uri)) == uri
    assert "c2VjcmV0" not in repr(uri)
    assert "token=REDACTED" in repr(uri)
    with pytest.raises(
        TrackingUriInvalid, match="names no folder; an embedded workspace's URI starts with amlstore:///"
    ):
        _ = uri.folder


@pytest.mark.parametrize("host", ["127.0.0.1:5000", "localhost", "[::1]:5000", "127.9.9.9"])
def test_the_plain_http_form_is_for_this_machine(host: str) -> None:
    assert parse(f"azureml+http://{host}/mlflow").root == f"azureml+http://{host}/mlflow"


@pytest.mark.parametrize(
    ("uri", "rule"),
    [
        ("", "must start with amlstore:///, azureml:// or azureml+http://"),
        ("/folder", "must start with amlstore:///, azureml:// or azureml+http://"),
        ("file:///folder", "must start with amlstore:///, azureml:// or azureml+http://"),
        ("amlstore:", "must be amlstore:///ABSOLUTE/FOLDER, with three slashes"),
        ("amlstore://folder", "must be amlstore:///ABSOLUTE/FOLDER, with three slashes"),
        ("amlstore://host/folder", "must be amlstore:///ABSOLUTE/FOLDER, with three slashes"),
        ("amlstore:folder", "must be amlstore:///ABSOLUTE/FOLDER, with three slashes"),
        ("amlstore:///", "must be amlstore:///ABSOLUTE/FOLDER, with three slashes"),
        ("amlstore:///a%00b", "must not contain a NUL character"),
        ("amlstore:///a#b", "has a '#'; write it as %23"),
        ("amlstore:///a?expires=tomorrow", "expires=tomorrow is not a time like 2026-01-31T12:00:00Z"),
        ("azureml:///mlflow", "must be azureml://HOST/…"),
        ("azureml+http:///mlflow", "must be azureml+http://HOST/…"),
        ("azureml+http://10.0.0.1/mlflow", "azureml+http is for this machine only; use azureml:// for other hosts"),
        ("azureml+http://localhost.evil.example/x", "azureml+http is for this machine only; use azureml:// for other"),
        ("amlstore://[/folder", "is not a URI"),
    ],
)
def test_a_uri_that_names_no_workspace_is_refused_with_the_rule(uri: str, rule: str) -> None:
    with pytest.raises(TrackingUriInvalid) as refused:
        parse(uri)

    assert refused.value.rule.startswith(rule)
    assert refused.value.mlflow_code == "INVALID_PARAMETER_VALUE"


@pytest.mark.parametrize("bad", ["azureml://", "azureml+http://far.example/x", "x://h/", "azureml://h/x#f"])
def test_a_refusal_doesnt_repeat_the_token(bad: str) -> None:
    with pytest.raises(TrackingUriInvalid) as refused:
        parse(bad.partition("#")[0] + "?token=c2VjcmV0" + ("#f" if "#" in bad else ""))

    assert "c2VjcmV0" not in str(refused.value)


@pytest.mark.parametrize(
    "name", ["plain", "with space", "100%", "a#b?c", "ünïcödé", "%2e%2e", "semi;colon", "new\nline"]
)
def test_any_folder_name_survives_the_way_through_a_uri(tmp_path: Path, name: str) -> None:
    folder = tmp_path / name
    uri = Issuer(embedded_root(folder), now=Clock()).issue()

    assert parse(str(uri)).folder == folder
    assert str(uri).isascii()
    assert "#" not in str(uri)


def test_one_folder_has_one_root_however_its_written(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    uris = [f"amlstore://{tmp_path}/{way}" for way in ("real", "real/", "link", "real/../real", "./real", "re%61l")]

    assert {parse(uri).root for uri in uris} == {f"amlstore://{tmp_path}/real"}


def test_two_uris_that_differ_in_expires_and_token_are_one_store(tmp_path: Path) -> None:
    ours, service = f"amlstore://{tmp_path}", SERVICE

    assert parse(ours).is_same_store(parse(f"{ours}?expires=2026-01-31T13:00:00Z"))
    assert parse(f"{service}?token=a").is_same_store(parse(f"{service}/?token=b&expires=2026-01-31T13:00:00Z"))
    assert not parse(ours).is_same_store(parse(f"{ours}2"))
    assert not parse(service).is_same_store(parse(f"{service}2"))
    assert not parse(service).is_same_store(parse(ours))


def test_a_uri_is_valid_for_an_hour_and_the_same_until_five_minutes_before_its_end(tmp_path: Path) -> None:
    clock = Clock()
    issuer = Issuer(embedded_root(tmp_path), now=clock)

    first = issuer.issue()
    assert first.expires == NOON + timedelta(hours=1)
    clock.now = NOON + timedelta(minutes=54, seconds=59)
    assert issuer.issue() is first
    clock.now = NOON + timedelta(minutes=55)
    second = issuer.issue()
    assert second.expires == NOON + timedelta(hours=1, minutes=55)
    assert second.is_same_store(first)


def test_a_time_elsewhere_is_written_in_utc(tmp_path: Path) -> None:
    elsewhere = timezone(timedelta(hours=5, minutes=30))
    issuer = Issuer(embedded_root(tmp_path), now=lambda: NOON.astimezone(elsewhere))

    assert str(issuer.issue()).endswith("?expires=2026-01-31T13:00:00Z")


@pytest.mark.skipif(os.name != "posix", reason="the root of a POSIX file system")
def test_a_relative_folder_is_made_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)

    assert embedded_root(Path("ws")) == f"amlstore://{tmp_path}/ws"
