"""A network between MLflow and a service that breaks, goes away, changes bytes: nothing is lost, nothing is twice."""

import hashlib
import os
import random
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from forked_service import ForkedService
from mlflow import MlflowClient
from mlflow.entities import Metric

from mlflow_amlstore.client.connection import connection_of
from mlflow_amlstore.client.files import upload as file_upload
from mlflow_amlstore.client.files.azureml_uri import RunRoot
from mlflow_amlstore.client.files.content_url import Content, ContentUrl
from mlflow_amlstore.client.files.download import download_file
from mlflow_amlstore.client.files.remote_files import RemoteFiles
from mlflow_amlstore.client.files.upload import Upload, upload_files
from mlflow_amlstore.errors import LocalFileFailed, NotFound, ServiceError, ServiceUnreachable, TransferBroken
from mlflow_amlstore.workspace.opening import EmbeddedWorkspace

SIZE = 50_000_001


@pytest.fixture
def far_client(service: ForkedService, network: Any) -> Iterator[MlflowClient]:
    """A client whose every byte goes through the network."""
    uri = network.through(service.tracking_uri)
    yield MlflowClient(uri)
    connection_of(uri).close()


@pytest.fixture
def files(service: ForkedService, network: Any, experiment_id: str, run_id: str) -> Iterator[RemoteFiles]:
    """The files of a run, by way of the network."""
    connection = connection_of(network.through(service.tracking_uri))
    yield RemoteFiles(connection, RunRoot(experiment_id, run_id))
    connection.close()


@pytest.fixture
def large(tmp_path: Path) -> Path:
    file = tmp_path / "large"
    file.write_bytes(random.Random(1).randbytes(SIZE))
    return file


@pytest.fixture
def stored(workspace: EmbeddedWorkspace, experiment_id: str, run_id: str) -> Callable[[str], str | None]:
    """The SHA-256 of what the workspace has under a path."""

    def sha256_of(path: str) -> str | None:
        record = workspace.records.files.find(f"{experiment_id}/{run_id}/artifacts", path)
        return record.sha256 if record else None

    return sha256_of


def sha256(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()


class TestLogging:
    def test_every_point_arrives_once_whatever_breaks(
        self, far_client: MlflowClient, network: Any, run_id: str, workspace: EmbeddedWorkspace
    ) -> None:
        places = random.Random(2)
        network.cut(up=sorted(places.sample(range(200_000), 40)), down=sorted(places.sample(range(50_000), 40)))
        for step in range(200):
            far_client.log_metric(run_id, "m", float(step), step=step, timestamp=step)
            if step % 10 == 0:
                far_client.log_batch(run_id, [Metric("b", float(n), n, step) for n in range(5)])
        assert network.cuts > 20
        metrics = workspace.records.metrics
        assert [point.value for point in metrics.history(run_id, "m").items] == [float(step) for step in range(200)]
        assert len(metrics.history(run_id, "b").items) == 100

    def test_an_outage_is_waited_for_by_all_threads(
        self, service: ForkedService, far_client: MlflowClient, network: Any, run_id: str
    ) -> None:
        def log(number: int) -> None:
            for step in range(20):
                far_client.log_metric(run_id, f"m{number}", float(step), step=step)
                time.sleep(0.02)

        threads = [threading.Thread(target=log, args=(number,)) for number in range(8)]
        for thread in threads:
            thread.start()
        time.sleep(0.2)
        network.go_down()
        time.sleep(1.5)
        network.is_down = False
        for thread in threads:
            thread.join()
        assert [len(far_client.get_metric_history(run_id, f"m{number}")) for number in range(8)] == [20] * 8

    def test_asynchronous_logging_waits_too(self, far_client: MlflowClient, network: Any, run_id: str) -> None:
        network.go_down()
        operations = [far_client.log_metric(run_id, "m", float(n), step=n, synchronous=False) for n in range(50)]
        time.sleep(1)
        network.is_down = False
        for operation in operations:
            operation.wait()
        assert len(far_client.get_metric_history(run_id, "m")) == 50


class TestUpload:
    def test_only_the_blocks_that_were_lost_are_sent_again(
        self, files: RemoteFiles, network: Any, large: Path, stored: Callable[[str], str | None]
    ) -> None:
        network.cut(up=[6_000_000, 20_000_000, 33_000_000], down=[300])
        before = network.sent_up
        told: list[int] = []
        files.upload([("large", large)], told.append)
        assert network.cuts == 4
        assert stored("large") == sha256(large)
        assert network.sent_up - before < 1.9 * SIZE
        assert sum(told) == SIZE

    def test_an_upload_that_was_broken_off_goes_on_where_it_was(
        self,
        files: RemoteFiles,
        network: Any,
        large: Path,
        stored: Callable[[str], str | None],
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        with monkeypatch.context() as backoff:
            backoff.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
            network.cut(up=[40_000_000])
            with pytest.raises(ServiceUnreachable):
                files.upload([("large", large)])
        assert stored("large") is None
        before = network.sent_up
        files.upload([("large", large)])
        assert stored("large") == sha256(large)
        assert network.sent_up - before < 0.8 * SIZE

    def test_blocks_of_an_older_content_are_never_taken_for_the_files_own(
        self,
        files: RemoteFiles,
        network: Any,
        large: Path,
        stored: Callable[[str], str | None],
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        """Even if size and time of change are the same."""
        with monkeypatch.context() as backoff:
            backoff.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
            network.cut(up=[40_000_000])
            with pytest.raises(ServiceUnreachable):
                files.upload([("large", large)])
        times = large.stat()
        large.write_bytes(random.Random(3).randbytes(SIZE))
        os.utime(large, ns=(times.st_atime_ns, times.st_mtime_ns))
        files.upload([("large", large)])
        assert stored("large") == sha256(large)

    @pytest.mark.parametrize("size", [1_000_000, SIZE])
    def test_a_byte_that_was_changed_on_the_way_is_noticed(
        self, files: RemoteFiles, network: Any, tmp_path: Path, stored: Callable[[str], str | None], size: int
    ) -> None:
        file = tmp_path / "file"
        file.write_bytes(os.urandom(size))
        network.change(up=[size // 2])
        with pytest.raises(ServiceError, match=r"SHA-256|sha256"):
            files.upload([("file", file)])
        assert stored("file") is None
        files.upload([("file", file)])
        assert stored("file") == sha256(file)

    def test_a_file_that_gets_shorter_meanwhile_is_refused(self, files: RemoteFiles, large: Path) -> None:
        (upload,) = files._registered([("large", large)])
        with large.open("r+b") as opened:
            opened.truncate(SIZE - 1)
        with pytest.raises(TransferBroken, match="got shorter while it was sent"):
            upload_files([upload])

    def test_one_that_gets_longer_is_sent_as_it_was(
        self, files: RemoteFiles, tmp_path: Path, stored: Callable[[str], str | None]
    ) -> None:
        log = tmp_path / "log"
        log.write_text("line 1\n")
        (upload,) = files._registered([("log", log)])
        log.write_text("line 1\nline 2\n")
        upload_files([upload])
        assert stored("log") == hashlib.sha256(b"line 1\n").hexdigest()

    def test_one_that_cant_be_read_is_named(self, files: RemoteFiles, tmp_path: Path) -> None:
        with pytest.raises(LocalFileFailed, match=f"{tmp_path}/none on this machine could not be read"):
            files.upload([("none", tmp_path / "none")])

    def test_elsewhere_each_block_has_its_md5(
        self, files: RemoteFiles, network: Any, large: Path, stored: Callable[[str], str | None]
    ) -> None:
        """A content URL that isn't the service's own, as Azure ML has them."""
        (upload,) = files._registered([("large", large)])
        plain = ContentUrl("large", upload.content.current(), upload.content.current, is_services_own=False)
        upload_files([Upload(large, plain, SIZE)])
        assert stored("large") == sha256(large)
        network.change(up=[SIZE // 2])
        with pytest.raises(ServiceError, match="MD5"):
            upload_files([Upload(large, plain, SIZE)])
        small = file_upload.BLOCK_BYTES
        with large.open("r+b") as opened:
            opened.truncate(small)
        upload_files([Upload(large, plain, small)])
        assert stored("large") == sha256(large)


class TestDownload:
    @pytest.fixture
    def there(self, files: RemoteFiles, large: Path) -> Path:
        files.upload([("large", large)])
        return large

    def test_it_goes_on_where_the_connection_broke(
        self, files: RemoteFiles, network: Any, there: Path, tmp_path: Path
    ) -> None:
        network.cut(down=[5_000_000, 20_000_000, 35_000_000, 45_000_000])
        before = network.sent_down
        files.download("large", tmp_path / "back")
        assert network.cuts == 4
        assert sha256(tmp_path / "back") == sha256(there)
        assert network.sent_down - before < 1.2 * SIZE

    def test_a_byte_that_was_changed_on_the_way_is_noticed_and_the_file_got_again(
        self, files: RemoteFiles, network: Any, there: Path, tmp_path: Path
    ) -> None:
        network.change(down=[20_000_000])
        files.download("large", tmp_path / "back")
        assert sha256(tmp_path / "back") == sha256(there)
        network.change(down=range(20_000_000, 10 * SIZE, SIZE // 2))
        with pytest.raises(TransferBroken, match="doesn't have the checksum"):
            files.download("large", tmp_path / "other")
        assert sorted(file.name for file in tmp_path.iterdir() if "back" in file.name or ".part" in file.name) == [
            "back"
        ]
        assert not (tmp_path / "other").exists()

    def test_a_file_that_is_written_anew_meanwhile_comes_as_it_is_then(
        self, files: RemoteFiles, there: Path, tmp_path: Path
    ) -> None:
        content = ContentUrl("large", files._content_to_read("large"), _asking(files), is_services_own=True)
        there.write_bytes(b"new")
        files.upload([("large", there)])
        download_file(content, tmp_path / "back")
        assert (tmp_path / "back").read_bytes() == b"new"

    def test_elsewhere_each_range_has_its_md5(
        self, files: RemoteFiles, network: Any, there: Path, tmp_path: Path
    ) -> None:
        plain = ContentUrl("large", Content(files._content_to_read("large").url), _asking(files), is_services_own=False)
        network.change(down=[20_000_000])
        download_file(plain, tmp_path / "back")
        assert sha256(tmp_path / "back") == sha256(there)
        there.write_bytes(b"")
        files.upload([("large", there)])
        download_file(plain, tmp_path / "back")
        assert (tmp_path / "back").read_bytes() == b""

    def test_what_is_gone_is_said_so(self, files: RemoteFiles, there: Path, tmp_path: Path) -> None:
        content = ContentUrl("large", files._content_to_read("large"), _asking(files), is_services_own=True)
        files.delete("large")
        with pytest.raises(NotFound, match="File 'large' not found"):
            download_file(content, tmp_path / "back")

    def test_a_place_that_cant_be_written_is_named(self, files: RemoteFiles, there: Path, tmp_path: Path) -> None:
        with pytest.raises(LocalFileFailed, match=f"{tmp_path}/none/back on this machine could .*: No such file"):
            files.download("large", tmp_path / "none" / "back")

    def test_what_was_there_stays_until_the_new_is_whole(
        self, files: RemoteFiles, network: Any, there: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
        (tmp_path / "back").write_text("old")
        network.cut(down=range(5_000_000, SIZE, 100_000))
        network.go_down()
        with pytest.raises(ServiceUnreachable):
            files.download("large", tmp_path / "back")
        assert (tmp_path / "back").read_text() == "old"


def _asking(files: RemoteFiles) -> Callable[[], Content]:
    return lambda: files._content_to_read("large")
