"""A run's snapshot, looked at, downloaded and compared; its models registered, compared, named and downloaded; by hand,
in a browser."""

import io
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from filled_workspace import PNG, Filled

from mlflow_amlstore.core import Experiment, Workspace

from .conftest import Person

pytestmark = pytest.mark.needs("playwright")

PDF = (
    b"%PDF-1.4\n1 0 obj<</Type/Catalog/Pages 2 0 R/OpenAction<</S/JavaScript/JS(app.alert\\('taken'\\))>>>>endobj\n"
    b"2 0 obj<</Type/Pages/Count 1/Kids[3 0 R]>>endobj\n"
    b"3 0 obj<</Type/Page/Parent 2 0 R/MediaBox[0 0 300 200]/Contents 4 0 R"
    b"/Resources<</Font<</F1<</Type/Font/Subtype/Type1/BaseFont/Helvetica>>>>>>>>endobj\n"
    b"4 0 obj<</Length 38>>stream\nBT /F1 24 Tf 20 100 Td (a figure) Tj ET\nendstream endobj\n"
    b"trailer<</Root 1 0 R>>\n%%EOF"
)


@pytest.fixture(scope="module")
def runs(filled: Filled, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Two runs with snapshots that differ, and with a model and a figure each."""
    source = tmp_path_factory.mktemp("source")
    (source / "train.py").write_text("alpha = 0.1\nprint(alpha)\n", encoding="utf-8")
    (source / "same.py").write_text("pass\n", encoding="utf-8")
    (source / "old.txt").write_text("old\n", encoding="utf-8")
    (source / "logo.png").write_bytes(PNG)
    workspace = Workspace.from_config(str(filled.folder))
    made = []
    for turn in range(2):
        run = Experiment(workspace, "snapshots").start_logging(snapshot_directory=str(source))
        for name, content in (("outputs/model.pkl", f"model {turn}".encode()), ("outputs/figure.pdf", PDF)):
            path = source / Path(name).name
            path.write_bytes(content)
            run.upload_file(name, str(path))
            path.unlink()
        run.complete()
        made.append(run.id)
        (source / "train.py").write_text("alpha = 0.2\nprint(alpha)\n", encoding="utf-8")
        (source / "old.txt").unlink(missing_ok=True)
        (source / "<new>.txt").write_text("new\n", encoding="utf-8")
    return made


def downloaded(page: Any, link: Any) -> bytes:
    with page.expect_download() as downloading:
        link.click()
    return bytes(downloading.value.path().read_bytes())


class TestSnapshot:
    def test_its_files_are_looked_at_and_downloaded(self, visit: Callable[..., Any], runs: list[str]) -> None:
        page = visit().open(f"/runs/{runs[0]}").page
        page.get_by_role("link", name="Snapshot", exact=True).click()
        page.get_by_role("link", name="train.py").click()
        page.locator("pre").get_by_text("alpha = 0.1").wait_for()
        one = downloaded(page, page.get_by_role("link", name="Download", exact=True))
        assert one == b"alpha = 0.1\nprint(alpha)\n"
        with zipfile.ZipFile(io.BytesIO(downloaded(page, page.get_by_role("link", name="Download all")))) as archive:
            assert set(archive.namelist()) == {"train.py", "same.py", "old.txt", "logo.png"}
        page.get_by_role("link", name="logo.png").click()
        page.locator(".preview img").wait_for()
        assert page.evaluate("document.querySelector('.preview img').decode().then(() => true)")

    def test_it_is_compared_with_another_runs(self, visit: Callable[..., Any], runs: list[str]) -> None:
        page = visit().open(f"/runs/{runs[1]}/snapshot").page
        page.get_by_label("Compare with run").fill(runs[0])
        page.get_by_role("button", name="Compare", exact=True).click()
        page.get_by_text("3 files differ, 2 the same").wait_for()
        changed = page.locator("section.card", has_text="train.py")
        assert changed.locator(".removed").get_by_text("alpha = 0.1").is_visible()
        assert changed.locator(".added").get_by_text("alpha = 0.2").is_visible()
        assert page.get_by_role("heading", name="<new>.txt added").is_visible()
        assert page.get_by_role("heading", name="old.txt removed").is_visible()

    def test_a_run_without_one_and_one_that_isnt_there_are_clear_pages(
        self, owner: Person, runs: list[str], filled: Filled
    ) -> None:
        for against in (filled.best, "nothing"):
            answer = owner.get(f"/runs/{runs[0]}/snapshot/difference?against={against}")
            assert answer.status_code == 404
            assert "not found" in answer.text
        assert owner.get(f"/runs/{filled.best}/snapshot").status_code == 404


class TestModel:
    def test_one_is_registered_compared_named_and_downloaded(
        self, visit: Callable[..., Any], runs: list[str], owner: Person
    ) -> None:
        visiting = visit()
        for run_id in runs:
            page = visiting.open(f"/runs/{run_id}").page
            page.get_by_text("Register a model").click()
            form = page.locator("form[data-change$='/register']")
            form.get_by_label("Model's name").fill("by hand")
            form.get_by_label("File or folder of this run").fill("outputs/model.pkl")
            form.get_by_role("button", name="Register").click()
            page.get_by_role("link", name=f"by hand, version {runs.index(run_id) + 1}").wait_for()
        page.get_by_role("link", name="by hand, version 2").click()
        page.get_by_role("heading", name="by hand", exact=True).wait_for()
        page.get_by_label("Alias").fill("champion")
        page.get_by_label("Version", exact=True).fill("1")
        page.get_by_role("button", name="Set alias").click()
        page.locator("tr", has=page.get_by_role("rowheader", name="1", exact=True)).get_by_text("champion").wait_for()
        page.get_by_label("Compare versions").fill("1,2")
        page.get_by_role("button", name="Compare", exact=True).click()
        page.get_by_role("link", name="All versions").wait_for()
        assert page.locator("tbody tr").count() == 2
        first = page.locator("tr", has=page.get_by_role("rowheader", name="1", exact=True))
        with zipfile.ZipFile(io.BytesIO(downloaded(page, first.get_by_role("link", name="1 file")))) as archive:
            assert [archive.read(name) for name in archive.namelist()] == [b"model 0"]
        assert owner.data("/models/by%20hand.json")["versions"][1]["aliases"] == ["champion"]

    def test_what_isnt_there_is_refused_in_the_form(self, visit: Callable[..., Any], runs: list[str]) -> None:
        visiting = visit()
        page = visiting.open(f"/runs/{runs[0]}").page
        page.get_by_text("Register a model").click()
        form = page.locator("form[data-change$='/register']")
        form.get_by_label("Model's name").fill("by hand")
        form.get_by_label("File or folder of this run").fill("../../elsewhere")
        form.get_by_role("button", name="Register").click()
        form.get_by_role("alert").wait_for()
        assert form.get_by_label("File or folder of this run").input_value() == "../../elsewhere"
        visiting.complaints.clear()  # the browser's own word on the 400


def test_a_pdf_is_described_and_downloaded_and_its_script_doesnt_run(
    visit: Callable[..., Any], owner: Person, runs: list[str]
) -> None:
    """Chromium's viewer shows a PDF in a frame whose answer is a sandbox, but runs what it has for scripts."""
    visiting = visit()
    dialogs: list[str] = []
    visiting.page.on("dialog", lambda dialog: (dialogs.append(dialog.message), dialog.dismiss()))
    page = visiting.open(f"/runs/{runs[0]}/outputs?path=outputs/figure.pdf").page
    assert page.get_by_text("A PDF of 1 page.").is_visible()
    assert page.locator("iframe, embed, object").count() == 0
    assert downloaded(page, page.get_by_role("link", name="Download", exact=True)) == PDF
    answer = owner.get(f"/runs/{runs[0]}/files/outputs/figure.pdf")
    assert answer.headers["Content-Disposition"].startswith("attachment;")
    assert answer.headers["Content-Type"] == "application/octet-stream"
    assert dialogs == []
