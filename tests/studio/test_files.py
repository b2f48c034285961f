"""Files of a run: previews that take nothing for markup, downloads that open nothing else, a zip made as it is sent."""

import html
import io
import re
import zipfile
from urllib.parse import quote

import pytest
from filled_workspace import EVIL, PNG, Filled

from .conftest import Person

KINDS = {
    "outputs/notes.md": "markdown",
    "outputs/table.csv": "table",
    "outputs/data.json": "text",
    "outputs/log_table.json": "table",
    "outputs/notebook.ipynb": "notebook",
    "outputs/picture.svg": "frame",
    "outputs/picture.png": "image",
    "outputs/not an image.png": "damaged",
    "outputs/bytes.bin": "binary",
    "user_logs/std_log.txt": "text",
}


@pytest.mark.parametrize(("path", "kind"), KINDS.items())
def test_a_file_is_shown_as_what_it_is(owner: Person, filled: Filled, path: str, kind: str) -> None:
    where = f"/runs/{filled.kinds}/outputs"
    preview = owner.data(f"{where}.json?path={quote(path)}")["preview"]
    assert preview["kind"] == kind
    page = owner.get(f"{where}?path={quote(path)}")
    assert page.status_code == 200
    assert "<script>document" not in page.text
    assert "javascript:" not in page.text
    assert "\u202e" not in page.text.partition("<h2>")[2].partition("</main>")[0] or path.endswith("csv") is False


def test_colours_of_a_terminal_and_what_turns_text_around_are_left_out(owner: Person, filled: Filled) -> None:
    page = owner.data(f"/runs/{filled.kinds}/outputs.json?path=user_logs/std_log.txt")
    assert page["log"]["text"].startswith("epoch")
    assert "\x1b" not in page["log"]["text"]
    data = owner.data(f"/runs/{filled.kinds}/outputs.json?path=outputs/data.json")["preview"]["text"]
    assert "\u202e" not in data


@pytest.mark.parametrize("download", ["", "?download=1"])
@pytest.mark.parametrize("path", KINDS)
def test_a_file_is_given_as_it_is_and_runs_nothing(owner: Person, filled: Filled, path: str, download: str) -> None:
    answer = owner.get(f"/runs/{filled.kinds}/files/{quote(path)}{download}")
    assert answer.status_code == 200
    assert answer.headers["Content-Security-Policy"].startswith("sandbox;")
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert answer.headers["Content-Type"].partition(";")[0] in (
        {"application/octet-stream"} if download else {"text/plain", "image/png", "image/svg+xml"}
    )
    if path == "outputs/picture.png":
        assert answer.content == PNG


@pytest.mark.parametrize(
    "path",
    [
        "../records.db",
        "..%2f..%2frecords.db",
        "%2e%2e/%2e%2e/config.json",
        "/etc/passwd",
        "a/../../b",
        "%00",
        "C:%5Cx",
    ],
)
def test_no_path_leads_outside(owner: Person, filled: Filled, path: str) -> None:
    run = f"/runs/{filled.kinds}"
    for address in (f"{run}/files/{path}", f"{run}/outputs.zip?folder={path}", f"{run}/outputs.json?path={path}"):
        answer = owner.get(address)
        assert answer.status_code in (400, 401, 404), address
        assert "SQLite" not in answer.text


def test_all_files_come_as_one_zip(owner: Person, filled: Filled) -> None:
    answer = owner.get(f"/runs/{filled.kinds}/outputs.zip")
    with zipfile.ZipFile(io.BytesIO(answer.content)) as archive:
        assert archive.testzip() is None
        names = set(archive.namelist())
        assert names >= {*KINDS, "model/MLmodel"}
        assert archive.read("outputs/picture.png") == PNG
    part = owner.get(f"/runs/{filled.kinds}/outputs.zip?folder=model")
    with zipfile.ZipFile(io.BytesIO(part.content)) as archive:
        assert set(archive.namelist()) == {"model/MLmodel", "model/model.pkl"}


def test_a_version_of_a_model_comes_as_one_zip(owner: Person, filled: Filled) -> None:
    page = owner.data("/models/ridge%20model%2Ejson.json")
    assert [version["version"] for version in page["versions"]] == [2, 1]
    assert page["versions"][0]["signature"] == [["input age", "double"], ["output", "double"]]
    answer = owner.get("/models/ridge%20model%2Ejson/2.zip")
    with zipfile.ZipFile(io.BytesIO(answer.content)) as archive:
        assert set(archive.namelist()) == {"model/MLmodel", "model/model.pkl"}


def test_a_table_of_runs_comes_as_csv_that_no_spreadsheet_runs(owner: Person, filled: Filled) -> None:
    columns = quote("metrics.mse:min,params.alpha")
    text = owner.get(f"/experiments/{filled.experiment}/runs.csv?columns={columns}&sort=metrics.mse:min").text
    lines = text.splitlines()
    assert lines[0] == "Run,Run id,Status,mse (min),alpha"
    assert lines[1].split(",")[1:] == [filled.best, "Completed", "3000.0", "0.24"]
    assert len(lines) == 1 + 12 + 4  # and those without the metric, but for the children
    assert EVIL not in text


def test_a_mark_that_turns_text_around_is_shown_as_what_it_is(owner: Person, filled: Filled) -> None:
    for path in (f"/runs/{filled.odd}", "/runs", "/experiments", f"/runs/{filled.kinds}/outputs?folder=outputs"):
        shown = re.sub(r'(value|href|data-[a-z-]+)="[^"]*"', "", owner.get(path).text.partition("<main")[2])
        shown = re.sub(r"<script type=.application/json.*?</script>", "", shown)
        assert "\\u202egnp" in shown
        assert "\u202e" not in shown


def test_a_tag_of_any_name_is_deleted_by_its_button(owner: Person, filled: Filled) -> None:
    owner.change(f"/runs/{filled.odd}/tags", name=EVIL, value=EVIL).raise_for_status()
    page = owner.get(f"/runs/{filled.odd}").text
    names = [html.unescape(name) for name in re.findall(r'name="name" value="([^"]*)"', page)]
    assert EVIL in names
    owner.change(f"/runs/{filled.odd}/tags/delete", name=EVIL).raise_for_status()
    assert EVIL not in owner.data(f"/runs/{filled.odd}.json")["tags"]
