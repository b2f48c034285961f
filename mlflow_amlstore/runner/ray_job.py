"""A run whose script is a job of a Ray cluster. Its runner on this machine is the bridge: it hands the script's files
to Ray, follows the job, and keeps its log and status in the run's record. What the script writes into its outputs is
kept by `on_ray`, which the job starts the script with.

It speaks Ray's REST API: Ray itself is 300 MB on disk, for a handful of requests.
"""

import hashlib
import os
import shlex
import stat
import threading
import time
import zipfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO

import requests

from mlflow_amlstore.errors import AmlStoreError, InvalidValue, RayFailed, TokenRefused
from mlflow_amlstore.records.types import with_last_lines
from mlflow_amlstore.runner import own_wheel
from mlflow_amlstore.runner.environments import packages_on_ray
from mlflow_amlstore.runner.launch import Launch, RunFolder
from mlflow_amlstore.runner.outputs import files_under
from mlflow_amlstore.runner.preparation_log import PreparationLog
from mlflow_amlstore.runner.ray_address import jobs_url
from mlflow_amlstore.runner.recording import Preparing, Recording, Waiting
from mlflow_amlstore.runner.run_records import TOKEN_VARIABLES, new_log_name, open_log
from mlflow_amlstore.workspace.redaction import redact

_LOG = "user_logs/std_log.txt"
_CONNECTED_WITHIN_S, _ANSWERED_WITHIN_S, _UPLOADED_WITHIN_S = 5.0, 30.0, 600.0
_LOOKED_EVERY_S = 0.1  # at the record
_ASKED_EVERY_S = 0.5  # Ray, what became of the job
_UNREACHED_S = 60.0  # for so long Ray may give no answer, or take no job, before the run has failed
_STOPPED_WITHIN_S = 30.0
_SILENT_S = 60.0  # a log's stream is opened again after so long without a byte
_STOP_WAIT_S = "10"  # from Ray's SIGTERM to its SIGKILL: `on_ray` ends the script within 5, and keeps its outputs
_NOT_STOPPED = "Ray was told to stop the job, and hasn't said that it did"
_ENDED = ("SUCCEEDED", "FAILED", "STOPPED")
_PLAIN = stat.S_IFREG | 0o644  # the mode of a file
_MESSAGE_CHARACTERS = 4000
_LINES_KEPT = 20  # of it, in the error of a run that couldn't start


class RayJobs:
    """The jobs of one cluster, by Ray's REST API. Each call raises RayFailed, or TokenRefused."""

    def __init__(self, target: str) -> None:
        """Raises InvalidValue for a target that isn't a cluster's address, or a token's file that can't be read."""
        self.url = jobs_url(target)
        token = _token()
        self._has_token = bool(token)
        self._secrets = [token] if token else []
        self._session = requests.Session()
        self._session.auth = lambda request: _authorized(request, token)  # else requests looks into ~/.netrc

    def check(self) -> None:
        """Raise where nothing of Ray's answers at the address, or it refuses the token."""
        answer = self._call("GET", "/api/version", within_s=_CONNECTED_WITHIN_S)
        try:
            known = "ray_version" in answer.json()
        except (ValueError, TypeError):
            known = False
        if not known:
            raise RayFailed(self.url, "what answers there isn't Ray's API of jobs")

    def has_package(self, name: str) -> bool:
        """Whether the cluster has a package of this name."""
        return self._call("GET", f"/api/packages/gcs/{name}", also=(404,)).status_code != 404

    def upload(self, name: str, file: Path) -> None:
        """Give the cluster a package, a zip."""
        with file.open("rb") as content:
            self._call("PUT", f"/api/packages/gcs/{name}", data=content, within_s=_UPLOADED_WITHIN_S)

    def submit(self, job_id: str, entrypoint: str, runtime_env: Mapping[str, Any]) -> None:
        """Submit a job under this id. `runtime_env` is Ray's."""
        secrets = [value for name, value in runtime_env["env_vars"].items() if name in TOKEN_VARIABLES and value]
        self._secrets += secrets
        sent = {"submission_id": job_id, "entrypoint": entrypoint, "runtime_env": runtime_env}
        self._call("POST", "/api/jobs/", json=sent, within_s=_ANSWERED_WITHIN_S)

    def job(self, job_id: str) -> dict[str, Any]:
        """What Ray says of a job, `status` and `message` in it."""
        try:
            answer = self._call("GET", f"/api/jobs/{job_id}").json()
        except ValueError:
            answer = None
        if not isinstance(answer, dict) or "status" not in answer:
            raise RayFailed(self.url, f"it answered for job {job_id} without a status")
        return answer

    def has_job(self, job_id: str) -> bool:
        """Whether a job of this id is known. False where Ray doesn't answer."""
        with suppress(RayFailed):
            return self._call("GET", f"/api/jobs/{job_id}", also=(404,)).status_code != 404
        return False

    def stop(self, job_id: str) -> None:
        """Have a job stopped; one that isn't there, or has ended, is left."""
        self._call("POST", f"/api/jobs/{job_id}/stop", also=(404,))

    def log(self, job_id: str, node_id: str, *, follow: bool) -> Iterator[bytes]:
        """The bytes of a job's log from its beginning; with `follow` also those that are yet to come.

        `GET /api/jobs/ID/logs` is text, and the whole log each time. These are the file's bytes, as `ray logs` reads
        them; `node_id` is the node that the job's script runs on.
        """
        media = "stream" if follow else "file"
        asked: dict[str, str | float] = {"node_id": node_id, "filename": f"job-driver-{job_id}.log", "lines": -1}
        if follow:
            asked["interval"] = _ASKED_EVERY_S
        answer = self._call("GET", f"/api/v0/logs/{media}", params=asked, stream=True, within_s=_SILENT_S)
        with answer:
            try:
                yield from answer.iter_content(None)
            except requests.RequestException as error:
                raise RayFailed(self.url, f"the log broke off ({type(error).__name__})") from None

    def shown(self, text: str) -> str:
        """A text of Ray's, without secrets, and not longer than an error is read."""
        for secret in self._secrets:
            text = text.replace(secret, "REDACTED")
        return redact(text).strip()[-_MESSAGE_CHARACTERS:]

    def _call(
        self, method: str, path: str, *, also: tuple[int, ...] = (), within_s: float = _ANSWERED_WITHIN_S, **given: Any
    ) -> requests.Response:
        try:
            answer = self._session.request(
                method, self.url + path, timeout=(_CONNECTED_WITHIN_S, within_s), allow_redirects=False, **given
            )
        except requests.Timeout:
            raise RayFailed(self.url, "no answer in time", may_pass=True) from None
        except requests.exceptions.SSLError:
            raise RayFailed(self.url, "its certificate isn't trusted, or it doesn't speak TLS") from None
        except requests.RequestException as error:
            raise RayFailed(self.url, f"no connection ({type(error).__name__})", may_pass=True) from None
        if answer.status_code in (401, 403):
            given_one = "isn't the cluster's" if self._has_token else "is missing"
            raise TokenRefused(
                f"Ray at {self.url} refused {method} {path} ({answer.status_code}): the token {given_one}",
                "Set RAY_AUTH_TOKEN, or RAY_AUTH_TOKEN_PATH, to the cluster's (`ray get-auth-token` there)",
            )
        if answer.status_code != 200 and answer.status_code not in also:
            last = (self.shown(answer.text).splitlines() or [""])[-1]  # the rest is a traceback
            problem = f"it answered {method} {path} with {answer.status_code}: {last}"
            raise RayFailed(self.url, problem, may_pass=answer.status_code >= 500)
        return answer


def _token() -> str:
    """The token that Ray's own tools would send: of a variable, of the file that it names, or of Ray's usual file."""
    if os.environ.get("RAY_AUTH_MODE", "").lower() == "disabled":
        return ""
    if token := os.environ.get("RAY_AUTH_TOKEN", "").strip():
        return token
    named = os.environ.get("RAY_AUTH_TOKEN_PATH", "")
    file = Path(named) if named else Path.home() / ".ray" / "auth_token"
    try:
        return file.read_text(encoding="utf-8").strip()
    except OSError as error:
        if named:
            raise InvalidValue("RAY_AUTH_TOKEN_PATH", named, f"can't be read: {error.strerror}") from None
        return ""


def _authorized(request: requests.PreparedRequest, token: str) -> requests.PreparedRequest:
    if token:
        request.headers["Authorization"] = f"Bearer {token}"
    return request


class RayRun:
    """One run on Ray. The job's id is the run's, so whoever comes after a bridge that was killed can stop it."""

    def __init__(
        self,
        launch: Launch,
        folder: RunFolder,
        preparation: PreparationLog,
        *,
        must_end: Callable[[], bool],
        is_lost: Callable[[], bool],
    ) -> None:
        """`must_end` says whether the job is to be stopped, `is_lost` whether nothing may be recorded any more."""
        self._launch, self._folder, self._preparation = launch, folder, preparation
        self._must_end, self._is_lost = must_end, is_lost
        self._jobs = RayJobs(launch.target)

    def stop(self) -> None:
        """Have Ray stop the job, if it can be reached."""
        with suppress(AmlStoreError):
            self._jobs.stop(self._launch.run_id)

    def run(self, before_start: Callable[[], object]) -> None:
        """Run the script, and keep its record. `before_start` is called when nobody else may start it any more."""
        preparing = Preparing(self._launch, self._folder, self._preparation)
        try:
            self._jobs.check()
            runtime_env = self._runtime_env()
            goes_on = not self._is_canceled(preparing)
            if goes_on:
                before_start()
                self._preparation.say(f"Submitting to Ray at {self._jobs.url}")
                goes_on = self._submit(runtime_env, preparing)
            if not goes_on:
                if not self._is_lost():
                    preparing.end(canceled=True)
                return
        except (AmlStoreError, OSError) as error:
            self.stop()  # it may have been taken though no answer came
            if not self._is_lost():
                preparing.end(problem=str(error))
            return
        job = self._wait_for_its_turn()
        if self._is_lost():
            return
        if job is None or job.get("status") == "STOPPED":
            preparing.end(canceled=True)
        elif not job.get("driver_node_id"):  # it never began: an environment that can't be had, as a rule
            message = self._jobs.shown(str(job.get("message") or "Ray gave no reason"))
            preparing.write(message.encode() + b"\n")
            last = "\n".join(message.splitlines()[-_LINES_KEPT:])
            preparing.end(problem=with_last_lines("Ray couldn't start the job", last))
        else:
            preparing.end()
            self._follow(job["driver_node_id"])

    # What Ray is given

    def _submit(self, runtime_env: Mapping[str, Any], preparing: Preparing) -> bool:
        """Submit the job, again where Ray doesn't take it: its API answers some time before there is a node for jobs.

        Returns False where the run was canceled before. Raises as `RayJobs.submit`.
        """
        deadline = time.monotonic() + _UNREACHED_S
        while True:
            try:
                self._jobs.submit(self._launch.run_id, self._entrypoint(), runtime_env)
                return True
            except RayFailed as error:
                if self._jobs.has_job(self._launch.run_id):  # it was taken, and the answer was lost
                    return True
                if not error.may_pass or time.monotonic() > deadline:
                    raise
                self._preparation.say(f"Submitting again: {error}")
            time.sleep(_ASKED_EVERY_S)
            if self._is_canceled(preparing):
                self.stop()  # Ray may have taken it since
                return False

    def _is_canceled(self, preparing: Preparing) -> bool:
        return self._must_end() or preparing.is_canceled()

    def _entrypoint(self) -> str:
        """The command of the job. It is seen by all who use the cluster."""
        python = ((self._launch.definition.get("environment") or {}).get("python")) or {}
        interpreter = (
            str(python.get("interpreterPath") or "python") if python.get("userManagedDependencies") else "python"
        )
        module = "mlflow_amlstore.runner.on_ray"
        words = [interpreter, "-m", module, self._launch.workspace, self._launch.experiment_id, self._launch.run_id]
        return shlex.join(words)

    def _runtime_env(self) -> dict[str, Any]:
        """Ray's description of where the job runs; its packages are there when this returns."""
        variables = {"PYTHONUNBUFFERED": "1", "RAY_JOB_STOP_WAIT_TIME_S": _STOP_WAIT_S, **self._launch.variables}
        if self._launch.token:  # as it was renewed
            variables.update(dict.fromkeys(TOKEN_VARIABLES, os.environ[TOKEN_VARIABLES[0]]))
        files = ((path, file.read_bytes(), file.stat().st_mode) for path, file in files_under(self._folder.source, ""))
        # The run's id makes it the run's alone: Ray keeps one folder for all that have the same package, outputs too.
        source = self._packed("source.zip", files, f"amlstore run {self._launch.run_id}")
        ours = self._packed("package.zip", ((path, content, _PLAIN) for path, content in own_wheel.as_module()))
        described: dict[str, Any] = {"working_dir": source, "py_modules": [ours], "env_vars": variables}
        packages = packages_on_ray(self._launch.definition.get("environment"), is_embedded=self._launch.is_embedded)
        return described if packages is None else {**described, "pip": packages}

    def _packed(self, name: str, files: Iterable[tuple[str, bytes, int]], of: str = "") -> str:
        """Upload files, each with its mode, as a package, unless the cluster has that already; return its URI."""
        archive = self._folder.path / name
        hashed = hashlib.sha256(of.encode())
        with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as zipped:
            for path, content, mode in files:
                hashed.update(f"\0{path}\0{len(content)}\0".encode() + content)
                entry = zipfile.ZipInfo(path)
                entry.external_attr = mode << 16
                zipped.writestr(entry, content, zipfile.ZIP_DEFLATED)
        package = f"_ray_pkg_{hashed.hexdigest()[:32]}.zip"
        if not self._jobs.has_package(package):
            self._jobs.upload(package, archive)
        archive.unlink()
        return f"gcs://{package}"

    # What becomes of it

    def _wait_for_its_turn(self) -> dict[str, Any] | None:
        """Wait until the job runs or has ended, and return what Ray says of it; None where it was canceled first."""
        waiting = Waiting(self._launch, self._preparation)
        asking = _Asking(self._jobs, self._launch.run_id)
        while True:
            if self._must_end() or not waiting.goes_on():
                ended = asking.stop_and_wait()
                return None if ended else {"status": "FAILED", "message": _NOT_STOPPED}
            job = asking.answer()
            if asking.problem:
                return {"status": "FAILED", "message": asking.problem}
            if job.get("status") == "RUNNING" and not job.get("driver_node_id"):
                job = {}
            if job.get("status") in ("RUNNING", *_ENDED):
                return job
            time.sleep(_LOOKED_EVERY_S)

    def _follow(self, node_id: str) -> None:
        """Keep the record of a job that runs till its end. `node_id` is the node that its script runs on."""
        started_ms = time.time_ns() // 1_000_000
        name = new_log_name(self._launch, self._folder, _LOG)
        sink = open_log(self._launch, name)
        log = _Log(lambda follow: self._jobs.log(self._launch.run_id, node_id, follow=follow), sink)
        recording = Recording(
            self._launch, self._folder, self._preparation, [], {_LOG: name}, {}, started_ms, is_lost=self._is_lost
        )
        longest_s = self._launch.definition.get("maxRunDurationSeconds")
        deadline = time.monotonic() + float(longest_s) if longest_s else None
        asking = _Asking(self._jobs, self._launch.run_id)
        canceled, problem = False, ""
        while not problem:
            job = asking.answer()
            problem = asking.problem
            if job.get("status") in _ENDED:
                problem = _how_it_ended(job, self._jobs)
                canceled = job["status"] == "STOPPED"
                break
            canceled = recording.keep_up() or self._must_end()
            is_late = deadline is not None and time.monotonic() > deadline
            if canceled or is_late:
                ended = asking.stop_and_wait()
                if is_late:
                    canceled, problem = False, f"the run took longer than max_run_duration_seconds={longest_s:g}"
                if not ended:
                    canceled, problem = False, _NOT_STOPPED
                break
            time.sleep(_LOOKED_EVERY_S)
        try:
            log.end()
        except AmlStoreError as error:
            problem = problem or f"the job's log can't be kept: {error}"
        if not self._is_lost():
            recording.end(canceled=canceled, problem=problem)


class _Asking:
    """What Ray says of a job, asked now and then. `problem` says why it can't be known."""

    def __init__(self, jobs: RayJobs, job_id: str) -> None:
        self._jobs, self._job_id = jobs, job_id
        self._asked_s = 0.0
        self._answered_s = time.monotonic()
        self._last: dict[str, Any] = {}
        self.problem = ""

    def answer(self) -> dict[str, Any]:
        """The last answer, empty before the first one."""
        now = time.monotonic()
        if now - self._asked_s >= _ASKED_EVERY_S:
            try:
                self._last = self._jobs.job(self._job_id)
                self._answered_s = time.monotonic()
            except AmlStoreError as error:
                if time.monotonic() - self._answered_s > _UNREACHED_S:
                    self.problem = f"nothing is known of the job since {_UNREACHED_S:g} s: {error}"
            self._asked_s = time.monotonic()
        return self._last

    def stop_and_wait(self) -> bool:
        """Have the job stopped; return whether it has ended, as Ray says."""
        deadline = time.monotonic() + _STOPPED_WITHIN_S
        while time.monotonic() < deadline:
            with suppress(AmlStoreError):
                self._jobs.stop(self._job_id)
                break
            time.sleep(_ASKED_EVERY_S)
        while time.monotonic() < deadline:
            with suppress(AmlStoreError):
                if self._jobs.job(self._job_id)["status"] in _ENDED:
                    return True
            time.sleep(_ASKED_EVERY_S)
        return False


class _Log:
    """A job's log on its way into the run's, byte for byte, by a thread."""

    def __init__(self, fetch: Callable[[bool], Iterator[bytes]], sink: BinaryIO) -> None:
        """`fetch` gives the log's bytes from its beginning, if told so also those that are yet to come."""
        self._fetch, self._sink = fetch, sink
        self._at = 0
        self._has_ended = threading.Event()
        self._writing = threading.Lock()
        threading.Thread(target=self._follow, name="amlstore-ray-log", daemon=True).start()

    def end(self) -> None:
        """Fetch what is missing. Raises as `RayJobs.log`."""
        self._has_ended.set()
        with self._writing, self._sink:
            passed = 0
            for chunk in self._fetch(False):
                passed = self._take(chunk, passed)

    def _follow(self) -> None:
        while not self._has_ended.is_set():
            with suppress(AmlStoreError):  # the file isn't there yet, or a connection broke
                passed = 0
                for chunk in self._fetch(True):
                    with self._writing:
                        if self._has_ended.is_set():
                            return
                        passed = self._take(chunk, passed)
            self._has_ended.wait(_ASKED_EVERY_S)

    def _take(self, chunk: bytes, passed: int) -> int:
        """Write what is new of a chunk that stands after `passed` bytes; return where it ends."""
        new = chunk[max(0, self._at - passed) :]
        self._sink.write(new)
        self._at += len(new)
        return passed + len(chunk)


def _how_it_ended(job: Mapping[str, Any], jobs: RayJobs) -> str:
    """Why a job that has ended failed; empty where it didn't."""
    if job["status"] != "FAILED":
        return ""
    code = job.get("driver_exit_code")
    if code:
        return f"the script ended with exit code {code}"
    return jobs.shown(str(job.get("message") or "Ray says that the job failed, and gives no reason")).rstrip(".")


def stop_job(launch: Launch) -> None:
    """Stop what a bridge that was killed left on Ray, if Ray can be reached."""
    with suppress(AmlStoreError):
        RayJobs(launch.target).stop(launch.run_id)
