"""Answers of Azure ML that ours never gives: a write taken in part, a zip that isn't ready. The SDK reads them so."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mlflow_amlstore.client.connection import Connection
from mlflow_amlstore.client.run_history import snapshots
from mlflow_amlstore.client.run_history.remote_records import records_of
from mlflow_amlstore.errors import PartlyRefused, ServiceUnreachable
from mlflow_amlstore.records.types import MetricKind

Connect = Callable[..., Connection]
NAN_REFUSED = {
    "errors": [{"metric": {"name": "b"}, "errorResponse": {"error": {"code": "UserError", "message": "no NaN"}}}]
}


def test_values_that_were_refused_in_a_write_are_named(service: Any, connect: Connect, fault: Any) -> None:
    service.faults.append(fault.answers(207, NAN_REFUSED))
    calls = [(name, MetricKind.SCALAR, 1.0, None, 0) for name in "abc"]
    with pytest.raises(PartlyRefused, match="The workspace refused the values of 'b': no NaN") as refused:
        records_of(connect()).metrics.log_values("run", calls)
    assert (refused.value.written, refused.value.names) == (3, {"b"})


def test_a_zip_that_is_being_made_is_waited_for(
    service: Any, connect: Connect, fault: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(snapshots, "_POLL_S", 0.01)
    service.faults += [
        fault.answers(202, {"location": f"{service.url}/content/v2.0/zips/1"}),
        fault.answers(202),
        fault.answers(200, {"zipSasUri": f"{service.url}/zips/1?sig=x"}),
        fault.answers(200, b"PK", Content_Type="application/zip", ETag='"1"'),
    ]
    records_of(connect()).snapshots.write_zip("snapshot", tmp_path / "zip")
    assert (tmp_path / "zip").read_bytes() == b"PK"
    asked = [(request.method, request.path.partition("?")[0].rpartition("/v2.0")[2]) for request in service.seen]
    assert asked[1:3] == [("GET", "/zips/1")] * 2


def test_a_token_goes_to_no_other_host_for_a_zip(service: Any, connect: Connect, fault: Any, tmp_path: Path) -> None:
    service.faults.append(fault.answers(202, {"location": "https://elsewhere.example/zip"}))
    with pytest.raises(ServiceUnreachable, match="it points to another host for a snapshot's zip"):
        records_of(connect()).snapshots.write_zip("snapshot", tmp_path / "zip")
