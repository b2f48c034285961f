"""The one confinement check: paths, model sources and artifact locations that come from outside."""

import pytest
from mlflow.utils.uri import append_to_uri_path

from mlflow_amlstore.errors import PathUnsafe
from mlflow_amlstore.records import locations
from mlflow_amlstore.records.locations import (
    below,
    check_artifact_location,
    check_new_path,
    check_path,
    check_source,
    check_uri_location,
    logged_model_container,
    run_container,
    split_location,
    upload_container,
    upload_of,
)

CLIMBING = [
    "..",
    "../x",
    "a/../../x",
    "a/../..",
    "%2e%2e/x",
    ".%2e/x",
    "%2E%2E%2Fx",
    "%252e%252e/x",
    "%25252e%25252e%25252fx",
    "a/..%2fx",
    "..;/x",
    "..;a=b/x",
    "..?x",
    "..#x",
    "%2e%2e%3b/x",
    "%25252e%25252e%25253b/x",
    "..%5cx",
    "a%5c..%255cx",
    "..%00",
]
ABSOLUTE = [
    "/",
    "//",
    "/etc/passwd",
    "%2fetc/passwd",
    "%252fetc",
    "%5cetc",
    "%255c",
    "file:x",
    "file:/etc/passwd",
    "file:///etc/passwd",
    "file://host/etc/passwd",
    "FILE:///etc/passwd",
    "file%3A///etc/passwd",
]
LEGAL = [
    "model.pkl",
    "epoch=0-step=151/model.ckpt",
    "with space/and  two",
    "ünïcödé/日本語.txt",
    "a#b?c;d&e=f",
    "100%",
    "50%zz",
    "50%25",
    "timestamp%00d0bb7f",
    "timestamp%5c7f%255c",
    "a..b",
    "...",
    "..a",
    "loss:train.txt",
    "a:b.txt",
    "T:0.5/C:",
    ".hidden",
    "-",
    "a\tb\nc",
    "x" * 255,
    "/".join(["x" * 255] * 10),
]


@pytest.mark.parametrize("path", CLIMBING)
def test_a_path_that_climbs_is_refused_however_it_is_written(path: str) -> None:
    with pytest.raises(PathUnsafe, match=r"for artifact path: must not climb out with '\.\.'"):
        check_path(path)


@pytest.mark.parametrize("path", ABSOLUTE)
def test_an_absolute_path_is_refused_however_it_is_written(path: str) -> None:
    with pytest.raises(PathUnsafe, match="for artifact path: must be relative, not absolute"):
        check_path(path)


@pytest.mark.parametrize(
    ("path", "rule"),
    [
        ("", "must not be empty"),
        ("a\0b", "must not contain a NUL character"),
        ("a\\b", "must not contain a backslash; folders are separated by '/'"),
        ("..\\x", "must not contain a backslash; folders are separated by '/'"),
        ("\\\\host\\share", "must not contain a backslash; folders are separated by '/'"),
        ("caf\udce9.txt", "must be valid Unicode; rename the file"),
        ("%" + "25" * 9 + "2e", "is percent-encoded too many times over"),
    ],
)
def test_a_path_that_isnt_one_is_refused_with_the_rule_it_breaks(path: str, rule: str) -> None:
    with pytest.raises(PathUnsafe) as refused:
        check_path(path)

    assert (refused.value.field, refused.value.value, refused.value.rule) == ("artifact path", path, rule)
    assert refused.value.mlflow_code == "INVALID_PARAMETER_VALUE"


@pytest.mark.parametrize("path", LEGAL)
def test_a_legal_path_stays_as_it_is(path: str) -> None:
    assert check_path(path) == check_new_path(path) == path


@pytest.mark.parametrize(
    ("path", "normal"),
    [
        ("a/", "a"),
        ("a//b", "a/b"),
        ("./a", "a"),
        ("a/./b", "a/b"),
        ("a/b///", "a/b"),
        ("a/../b", "b"),
        ("a/b/../../c", "c"),
        (".", ""),
        ("./", ""),
        ("a/..", ""),
    ],
)
def test_a_path_comes_back_in_normal_form(path: str, normal: str) -> None:
    assert check_path(path) == normal


@pytest.mark.parametrize("path", [".", "./", "a/.."])
def test_a_new_file_has_a_name(path: str) -> None:
    with pytest.raises(PathUnsafe, match="must name a file or folder"):
        check_new_path(path)


@pytest.mark.parametrize("path", ["C:", "C:/x", "C:x", "c%3a/x"])
def test_a_drive_is_absolute_where_there_are_drives(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(locations, "_HAS_DRIVES", True)
    with pytest.raises(PathUnsafe, match="for artifact path: must be relative, not absolute"):
        check_path(path)


def test_a_new_name_is_short_enough_for_any_disk() -> None:
    for name in ("x" * 256, "ü" * 128, "folder/" + "x" * 256):
        with pytest.raises(PathUnsafe, match="no name in it may be over 255 bytes long"):
            check_new_path(name)


def test_a_location_is_split_into_container_and_path() -> None:
    assert run_container("1", "abc") == "1/abc/artifacts"
    assert logged_model_container("1", "m-abc") == "1/models/m-abc/artifacts"
    assert split_location("1/abc/artifacts") == ("1/abc/artifacts", "")
    assert split_location("1/abc/artifacts/") == ("1/abc/artifacts", "")
    assert split_location("1/abc/artifacts/a/b") == ("1/abc/artifacts", "a/b")
    assert split_location("1/models/m-abc/artifacts/MLmodel") == ("1/models/m-abc/artifacts", "MLmodel")
    assert upload_container("261121T100000-0123abcd") == "uploads/261121T100000-0123abcd/artifacts"
    assert split_location("uploads/261121T100000-0123abcd/artifacts/m/x") == (
        "uploads/261121T100000-0123abcd/artifacts",
        "m/x",
    )
    assert split_location("1/models/artifacts/x") == ("1/models/artifacts", "x")  # a run whose id is "models"


@pytest.mark.parametrize(
    "location",
    ["", "1", "1/abc", "1/abc/files/x", "x/abc/artifacts", "1/../artifacts", "1/a b/artifacts", "../1/abc/artifacts",
     "1/%2e%2e/artifacts/x", "1/abc/artifactsx", "1/models/x/artifacts", "uploads/artifacts", "uploads/../artifacts",
     "uploads/a.b/artifacts", "uploads/%2e%2e/artifacts/x", "uploads/a/b/artifacts", "uploads//artifacts"],
)  # fmt: skip
def test_a_location_that_names_no_container_is_refused(location: str) -> None:
    with pytest.raises(PathUnsafe, match="must be EXPERIMENT/RUN/artifacts/…, EXPERIMENT/models/"):
        split_location(location)


@pytest.mark.parametrize("path", [path for path in CLIMBING + ABSOLUTE if path.strip("/")])
def test_a_location_whose_path_leaves_its_container_is_refused(path: str) -> None:
    for container in ("1/abc/artifacts", "uploads/abc/artifacts"):
        with pytest.raises(PathUnsafe):
            split_location(f"{container}/{path}")


@pytest.mark.parametrize(
    ("location", "normal"),
    [
        ("1/abc/artifacts/a/../b", "1/abc/artifacts/b"),
        ("1/abc/artifacts/a/..", "1/abc/artifacts"),
        ("1/abc/", "1/abc"),
        ("1", "1"),
        ("", ""),
    ],
)
def test_a_uri_s_location_comes_back_in_normal_form_wherever_the_uri_is_split(location: str, normal: str) -> None:
    assert check_uri_location(location) == normal


@pytest.mark.parametrize(
    "location", ["1/abc/artifacts/..", "1/abc/artifacts/a/../..", "1/abc/../artifacts", "1/..", "1/abc/artifacts/%2e."]
)
def test_a_uri_that_leaves_the_files_is_refused(location: str) -> None:
    with pytest.raises(PathUnsafe, match=r"must not climb out with '\.\.'"):
        check_uri_location(location)


@pytest.mark.parametrize("name", ["", "..", ".hidden", "a/b", "a.b", "-rf", "a b", "%2e%2e", "a\0", "ü", "x" * 101])
def test_an_uploads_name_is_a_plain_word(name: str) -> None:
    with pytest.raises(PathUnsafe, match="for upload: must be letters, digits, '-' and '_'"):
        upload_container(name)


def test_an_upload_is_told_from_other_containers() -> None:
    assert upload_of(upload_container("260101T000000-0a1b2c3d")) == "260101T000000-0a1b2c3d"
    assert upload_of(run_container("1", "uploads")) is None
    assert upload_of("uploads/x/artifacts/y") == "x"
    assert upload_of("uploads/../artifacts") is None


REFUSED_EVERYWHERE = [
    "/etc/passwd",
    "etc",
    "./x",
    "../x",
    "~/x",
    "",
    "C:\\x",
    "C:/x",
    "\\\\host\\share",
    "file:x",
    "file:/etc",
    "file:///etc",
    "file://localhost/etc",
    "file://host/etc",
    "FILE:///etc",
    "fi\nle:///etc",
    " file:///etc",
    "file:///etc?x#y",
    "http://host/x",
    "https://host/x",
    "ftp://host/x",
    "data:text/plain,x",
    "s3://bucket/../x",
    "s3://bucket/..;/x",
    "s3://bucket/x?y=/../z",
    "s3://bucket/x#/../z",
    "s3://bucket/%2e%2e/x",
    "s3://bucket/%25252e%25252e%25253b/x",
    "s3://bucket/x\0",
    "s3://bucket\\x",
    "s3://",
    "s3://[bucket",
    "amlstore:///another/workspace/0/abc/artifacts/model",
    "amlstore:///ws/../..",
    "amlstore:/ws/0/abc/artifacts",
    "AMLSTORE:///ws/0/abc/artifacts",
    "workspace:/0/abc/artifacts/../..",
    "workspace:/0/abc/artifacts/%2e%2e/x",
    "workspace:/etc/passwd",
    "workspace:///etc/passwd",
]


@pytest.mark.parametrize("source", REFUSED_EVERYWHERE)
def test_a_model_source_that_could_name_any_file_is_refused(source: str) -> None:
    with pytest.raises(PathUnsafe) as refused:
        check_source(source)
    assert refused.value.mlflow_code == "INVALID_PARAMETER_VALUE"


@pytest.mark.parametrize("source", ["runs:/abc/../x", "models:/name/../1", "runs:/abc/%2e%2e/x"])
def test_a_model_source_that_climbs_is_refused(source: str) -> None:
    with pytest.raises(PathUnsafe, match="must not climb out"):
        check_source(source)


@pytest.mark.parametrize(
    "source",
    ["workspace:/0/abc/artifacts", "workspace:/0/abc/artifacts/model", "workspace:/0/models/m-1/artifacts",
     "runs:/abc/model", "models:/name/1", "models:/m-abc", "s3://bucket/a b", "gs://bucket/x", "dbfs:/x",
     "wasbs://container@account.blob.core.windows.net/x", "mlflow-artifacts:/0/abc/artifacts/model"],
)  # fmt: skip
def test_a_model_source_in_the_workspace_or_an_object_store_is_kept_as_it_is(source: str) -> None:
    assert check_source(source) == source


@pytest.mark.parametrize(
    "location", [*REFUSED_EVERYWHERE, "runs:/abc/x", "models:/name/1", "workspace:/0/abc/artifacts", "Workspace:/x"]
)
def test_an_artifact_location_on_this_machine_is_refused(location: str) -> None:
    with pytest.raises(PathUnsafe, match="for artifact location"):
        check_artifact_location(location)


def test_the_refusal_says_what_was_wrong_and_what_to_do_instead() -> None:
    with pytest.raises(PathUnsafe) as refused:
        check_source("file:///etc")
    assert str(refused.value) == (
        "Invalid value 'file:///etc' for model source: must not be a URI that starts with file:, which could name any "
        "file; log the model to a run first and register `runs:/RUN_ID/PATH`"
    )
    with pytest.raises(PathUnsafe) as refused:
        check_artifact_location("/data")
    assert str(refused.value) == (
        "Invalid value '/data' for artifact location: must not be a local path, which could name any file; "
        "leave it out, and files are kept in the workspace"
    )


@pytest.mark.parametrize(
    ("location", "expected"),
    [
        ("s3://bucket/root", "s3://bucket/root/RUN/artifacts"),
        ("s3://bucket/root/", "s3://bucket/root/RUN/artifacts"),
        ("s3://bucket/root?versionId=3", "s3://bucket/root/RUN/artifacts?versionId=3"),
        ("s3://bucket/root#part", "s3://bucket/root/RUN/artifacts#part"),
        ("s3://bucket/root/?a=b#c?d", "s3://bucket/root/RUN/artifacts?a=b#c?d"),
        ("wasbs://c@account.blob.core.windows.net/a", "wasbs://c@account.blob.core.windows.net/a/RUN/artifacts"),
    ],
)
def test_a_path_goes_before_a_uris_query_and_fragment_as_mlflow_puts_it(location: str, expected: str) -> None:
    assert below(location, "RUN/artifacts") == expected == append_to_uri_path(location, "RUN/artifacts")
