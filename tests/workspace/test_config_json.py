"""config.json: where it is looked for, and what it may say."""

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from mlflow_amlstore.core import Workspace
from mlflow_amlstore.errors import ConfigInvalid, ConfigNotFound, WorkspaceNotFound
from mlflow_amlstore.workspace.config_json import find_config, read_config, write_config

AZURE = {"subscription_id": "sub", "resource_group": "group", "workspace_name": "azure"}


def _config(folder: Path, name: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "config.json"
    file.write_text(json.dumps({"workspace_name": name, "path": "."}))
    return file


def test_the_nearest_config_wins_and_in_a_folder_the_order_is_itself_azureml_aml_config(tmp_path: Path) -> None:
    start = tmp_path / "project/src"
    start.mkdir(parents=True)
    found = []
    for place in ("project/aml_config", "project/.azureml", "project", "project/src/aml_config",
                  "project/src/.azureml", "project/src"):  # fmt: skip
        _config(tmp_path / place, place)
        found.append(find_config(start).workspace_name)

    assert found == [
        "project/aml_config",
        "project/.azureml",
        "project",
        "project/src/aml_config",
        "project/src/.azureml",
        "project/src",
    ]


def test_without_a_start_the_search_begins_in_the_current_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _config(tmp_path / "here/.azureml", "here")
    monkeypatch.chdir(tmp_path / "here")

    assert find_config().workspace_name == "here"


def test_a_start_may_be_the_file_itself_whatever_its_name(tmp_path: Path) -> None:
    file = _config(tmp_path, "named").rename(tmp_path / "other.json")

    assert find_config(file).workspace_name == "named"


def test_no_config_is_an_error_that_lists_the_folders_searched_and_both_ways_out(tmp_path: Path) -> None:
    start = tmp_path / "empty"
    start.mkdir()

    with pytest.raises(ConfigNotFound) as refused:
        find_config(start)

    lines = str(refused.value).splitlines()
    assert lines[0] == "No config.json found. Searched:"
    assert lines[1:5] == [f"  {start}", f"  {start}/.azureml", f"  {start}/aml_config", f"  {tmp_path}"]
    assert lines[-2].strip() == "/aml_config"
    assert lines[-1] == (
        "For a local workspace run `amlstore init`; for an Azure ML workspace download config.json from the portal "
        "(workspace overview, 'Download config.json') into one of these folders"
    )


def test_a_start_that_doesnt_exist_isnt_searched_around(tmp_path: Path) -> None:
    """A slip of the pen mustn't find the workspace of a folder above."""
    _config(tmp_path, "above")

    with pytest.raises(ConfigNotFound, match=r"misspelt \(there is no such file or folder\)"):
        find_config(tmp_path / "misspelt")


def test_an_embedded_workspaces_path_counts_from_the_file(tmp_path: Path) -> None:
    file = tmp_path / ".azureml/config.json"
    write_config(file, {"workspace_name": "ws", "path": "../ws"})

    config = read_config(file)

    assert config.folder is not None
    assert config.folder.resolve() == tmp_path / "ws"
    assert (config.workspace_name, config.service_url, config.file) == ("ws", None, file)


def test_the_portals_download_is_read(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps(AZURE), encoding="utf-8-sig")

    config = find_config(tmp_path)

    assert (config.subscription_id, config.resource_group, config.workspace_name) == ("sub", "group", "azure")
    assert config.folder is None


# What Hugging Face's transformers keep under the same name, shortened.
TRANSFORMER = {"architectures": ["BertForMaskedLM"], "hidden_size": 768, "model_type": "bert", "vocab_size": 30522}


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ("", "it is not JSON"),
        ('{"path": "."', "it is not JSON"),
        ("\x00\x01", "it is not JSON"),
        ("[" * 100_000, "it is not JSON"),
        ("[]", "it must hold a JSON object; make a new one with `amlstore init`"),
        ("null", "it must hold a JSON object; make a new one with `amlstore init`"),
        ('"path"', "it must hold a JSON object; make a new one with `amlstore init`"),
        ("{}", "it names no workspace"),
        (json.dumps(TRANSFORMER), "it names no workspace"),
        ('{"workspace_name": "ws"}', "for Azure ML it lacks subscription_id, resource_group"),
        (json.dumps({**AZURE, "subscription_id": ""}), "for Azure ML it lacks subscription_id"),
        ('{"path": 5}', "path must be a string, it is 5"),
        ('{"path": null}', "path must be a string, it is None"),
        ('{"path": ["."]}', r"path must be a string, it is \['\.'\]"),
        ('{"path": ""}', "path must not be empty or have a NUL character"),
        ('{"path": "a\\u0000b"}', "path must not be empty or have a NUL character"),
        ('{"path": ".", "workspace_name": {}}', r"workspace_name must be a string, it is \{\}"),
        ('{"service_url": true}', "service_url must be a string, it is True"),
        (
            '{"path": ".", "service_url": "https://host"}',
            "it has both path and service_url; keep the one that is meant",
        ),
    ],
)
def test_a_config_that_means_no_workspace_is_refused_and_left_as_it_is(
    tmp_path: Path, content: str, problem: str
) -> None:
    file = tmp_path / "config.json"
    file.write_text(content)

    for open_it in (Workspace.from_config, Workspace.create):
        with pytest.raises(ConfigInvalid, match=problem) as refused:
            open_it(tmp_path)
        assert str(refused.value).startswith(f"{file} can't be used: ")
        assert refused.value.mlflow_code == "INVALID_PARAMETER_VALUE"
    assert [path.name for path in tmp_path.iterdir()] == ["config.json"]
    assert file.read_text() == content


def test_a_config_in_another_encoding_is_refused(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_bytes('{"path": "."}'.encode("utf-16"))

    with pytest.raises(ConfigInvalid, match="it is not JSON"):
        find_config(tmp_path)


def test_a_foreign_config_says_where_a_workspace_could_be_made_instead(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps(TRANSFORMER))

    with pytest.raises(ConfigInvalid) as refused:
        Workspace.from_config(tmp_path)

    assert str(refused.value) == (
        f"{tmp_path}/config.json can't be used: it names no workspace: it has neither path (embedded) nor service_url "
        "(service), and for Azure ML it lacks subscription_id, resource_group, workspace_name. If the file belongs to "
        "another program, run `amlstore init` in a folder of its own and pass that folder to Workspace.from_config"
    )


def test_a_foreign_config_nearer_than_ours_is_an_error_and_not_passed_over(tmp_path: Path) -> None:
    """Going on to the folder above could log to a workspace that wasn't meant."""
    _config(tmp_path, "above")
    (tmp_path / "model").mkdir()
    (tmp_path / "model/config.json").write_text(json.dumps(TRANSFORMER))

    with pytest.raises(ConfigInvalid, match=r"model/config\.json can't be used"):
        find_config(tmp_path / "model")


def test_a_config_whose_workspace_is_gone_says_so(tmp_path: Path) -> None:
    write_config(tmp_path / "config.json", {"path": "gone"})

    with pytest.raises(WorkspaceNotFound, match=f"No workspace in {tmp_path}/gone, which {tmp_path}/config.json names"):
        Workspace.from_config(tmp_path)


def test_a_config_thats_a_folder_is_passed_over(tmp_path: Path) -> None:
    _config(tmp_path, "above")
    (tmp_path / "project/config.json").mkdir(parents=True)

    assert find_config(tmp_path / "project").workspace_name == "above"


def test_writing_replaces_the_file_whole_and_leaves_nothing_beside_it(tmp_path: Path) -> None:
    file = tmp_path / "new/config.json"
    for name in ("one", "two"):
        write_config(file, {"workspace_name": name, "path": "."})

    assert file.read_text() == '{\n  "workspace_name": "two",\n  "path": "."\n}\n'
    assert [path.name for path in file.parent.iterdir()] == ["config.json"]


def test_many_may_write_one_file_at_once_and_a_reader_always_finds_it_whole(tmp_path: Path) -> None:
    file = tmp_path / "config.json"
    names = [str(number) * 10_000 for number in range(8)]

    def write_and_read(name: str) -> list[str | None]:
        found = []
        for _ in range(30):
            write_config(file, {"workspace_name": name, "path": "."})
            found.append(read_config(file).workspace_name)
        return found

    with ThreadPoolExecutor(len(names)) as pool:
        found = [name for of_one in pool.map(write_and_read, names) for name in of_one]

    assert len(found) == 240
    assert set(found) <= set(names)
    assert [path.name for path in tmp_path.iterdir()] == ["config.json"]
