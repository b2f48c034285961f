"""The rules that names and values keep. They are MLflow's (`mlflow/utils/validation.py`), so that a record logged here
can be logged anywhere; each raises InvalidValue."""

import math
import numbers
import operator
import posixpath
import re
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache

from mlflow_amlstore.errors import InvalidValue

MAX_NAME_LENGTH = 250
MAX_TEXT_NAME_LENGTH = 1000
MAX_PARAM_VALUE_LENGTH = 6000
MAX_TAG_VALUE_LENGTH = 8000
MAX_EXPERIMENT_NAME_LENGTH = 500
MAX_EXPERIMENT_TAG_VALUE_LENGTH = 20_000
MAX_MODEL_TAG_VALUE_LENGTH = 100_000
MAX_ALIAS_LENGTH = 255
MAX_POINTS_PER_BATCH = 1000
MAX_PARAMS_OR_TAGS_PER_BATCH = 100
MAX_ENTITIES_PER_BATCH = 1000
MAX_DATASET_NAME_LENGTH = 500
MAX_DATASET_DIGEST_LENGTH = 36
MAX_DATASET_SOURCE_LENGTH = 65_535
MAX_DATASET_SCHEMA_LENGTH = 1_048_575
MAX_DATASET_PROFILE_LENGTH = 16_777_215
MAX_DATASET_TAG_NAME_LENGTH = 255
MAX_DATASET_TAG_VALUE_LENGTH = 500
MAX_INT64 = 2**63 - 1
MAX_RUNS = 50_000  # `mlflow.store.tracking.SEARCH_MAX_RESULTS_THRESHOLD`

_NAME = re.compile(r"[/\w.\- :]+")
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff]")
_RUN_ID = re.compile(r"[a-zA-Z0-9][\w\-]{0,255}")
_ALIAS = re.compile(r"[\w\-]+")
_VERSION_ALIAS = re.compile(r"[vV]\d+")
_BAD_LOGGED_MODEL_CHARACTERS = "/:.%\"'"


def check_name(field: str, name: str) -> None:
    """Metric, param and tag names: letters, digits, `_-. :/`, no path that means another path, at most 250 long."""
    check_given(field, name)
    _check_name_text(field, name)


@lru_cache(maxsize=16_384)
def _check_name_text(field: str, name: str) -> None:
    if not _NAME.fullmatch(name):
        raise InvalidValue(
            field,
            name,
            "names may only contain letters, digits, underscores (_), dashes (-), periods (.), spaces ( ), colons (:) "
            "and slashes (/), and must not be empty",
        )
    if _is_ambiguous_path(name):
        raise InvalidValue(
            field,
            name,
            f"names may be treated as files in certain cases; this one would become {posixpath.normpath(name)!r}",
        )
    check_length(field, name, MAX_NAME_LENGTH)


def check_short_text(field: str, text: object) -> str:
    """A name that people give, or what a person is called: 1 to 250 characters, none of them a control character."""
    check_text_name(field, text)
    check_length(field, text, MAX_NAME_LENGTH)
    return str(text)


def check_environment(name: object, version: object) -> None:
    """The name of an environment and, where it isn't None, a version: short texts that are segments of a path."""
    for field, text in (("environment name", name), ("environment version", "1" if version is None else version)):
        check_short_text(field, text)
        if "/" in str(text) or text in (".", ".."):
            raise InvalidValue(field, text, "must not have a '/', nor be '.' or '..'")


def check_text_name(field: str, name: object) -> str:
    """A name in the `Run` vocabulary, whose scripts use more than MLflow's characters: 1 to 1000, none of them a
    control character."""
    if not isinstance(name, str) or not name:
        raise InvalidValue(field, name, "a name must be given, as a string")
    check_length(field, name, MAX_TEXT_NAME_LENGTH)
    if _CONTROL.search(name):
        raise InvalidValue(field, name, "names may not contain control characters, nor half a surrogate pair")
    return name


@lru_cache(maxsize=16_384)
def is_text_name(name: str) -> bool:
    """Whether `check_text_name` takes it."""
    return 0 < len(name) <= MAX_TEXT_NAME_LENGTH and not _CONTROL.search(name)


def check_text_values(kind: str, values: Mapping[str, object]) -> None:
    """Names and values of tags or properties in the `Run` vocabulary: values of at most 8000 characters."""
    for name, value in values.items():
        check_text_name(kind, name)
        check_length(f"{kind} {name!r}", value, MAX_TAG_VALUE_LENGTH)


def encodable(text: str) -> str:
    """A text that may have come from anywhere, an exception's say, with half a surrogate pair, which UTF-8 hasn't, as
    its escape."""
    return text.encode("utf-8", "backslashreplace").decode()


def check_given(field: str, name: object) -> None:
    """`name` is a string."""
    if not isinstance(name, str):
        raise InvalidValue(field, name, "a name must be given, as a string")


def check_length(field: str, value: object, limit: int) -> None:
    """`value` is a string of at most `limit` characters."""
    if not isinstance(value, str):
        raise InvalidValue(field, value, "must be a string")
    if len(value) > limit:
        raise InvalidValue(field, value, f"exceeds the maximum length of {limit} characters: it has {len(value)}")


def check_tags(tags: Iterable[tuple[str, str]], *, max_value_length: int = MAX_TAG_VALUE_LENGTH) -> None:
    """Every tag's name and value."""
    for name, value in tags:
        check_name("tag", name)
        check_length(f"tag {name!r}", value, max_value_length)


def check_params(params: Sequence[tuple[str, str]]) -> None:
    """Every param's name and value, and that none is given twice."""
    for name, value in params:
        check_name("param", name)
        check_length(f"param {name!r}", value, MAX_PARAM_VALUE_LENGTH)
    names = [name for name, _ in params]
    if len(set(names)) < len(names):
        repeated = sorted({name for name in names if names.count(name) > 1})
        raise InvalidValue("params", repeated, "a batch may give each param once")


def check_number(field: str, value: object) -> float:
    """A metric value as a float. NaN and ±Inf pass; None, bool and anything that isn't a number don't."""
    if value is None:
        raise InvalidValue(field, value, "a value must be given")
    if isinstance(value, bool) or not isinstance(value, numbers.Number):
        raise InvalidValue(field, value, "must be a number (64-bit floating point)")
    try:
        return float(value)  # type: ignore[arg-type]  # a Number that has no float() fails here, and is refused
    except (TypeError, OverflowError) as error:
        raise InvalidValue(field, value, "must be a number (64-bit floating point)") from error


def check_integer(field: str, value: object, *, minimum: int = -MAX_INT64 - 1) -> int:
    """A step or timestamp as a 64-bit integer."""
    rule = "must be a 64-bit integer" + (f" of at least {minimum}" if minimum == 0 else "")
    if isinstance(value, bool) or not isinstance(value, numbers.Real):
        raise InvalidValue(field, value, rule)
    if isinstance(value, numbers.Integral):
        number = operator.index(value)
    elif math.isfinite(value):
        number = int(float(value))
    else:
        raise InvalidValue(field, value, rule)
    if not minimum <= number <= MAX_INT64:
        raise InvalidValue(field, value, rule)
    return number


def check_max_results(max_results: object, limit: int | None = None, field: str = "max_results") -> int:
    """A page's size: a positive integer, at most `limit` where there is one. Raises InvalidValue."""
    if not isinstance(max_results, int) or isinstance(max_results, bool) or max_results < 1:
        raise InvalidValue(field, max_results, "must be a positive integer")
    if limit is not None and max_results > limit:
        raise InvalidValue(field, max_results, f"must be at most {limit}; ask for more pages")
    return max_results


def check_batch_size(points: int, params: int, tags: int) -> None:
    """MLflow's limits on one `log_batch`."""
    for field, count, limit in (
        ("metrics", points, MAX_POINTS_PER_BATCH),
        ("params", params, MAX_PARAMS_OR_TAGS_PER_BATCH),
        ("tags", tags, MAX_PARAMS_OR_TAGS_PER_BATCH),
        ("metrics, params, and tags", points + params + tags, MAX_ENTITIES_PER_BATCH),
    ):
        if count > limit:
            raise InvalidValue(
                f"number of {field}", count, f"a batch can contain at most {limit} {field}; split it over more calls"
            )


def check_run_id(run_id: object) -> str:
    """A run id: a letter or digit, then letters, digits, `_` and `-`, at most 256 in all."""
    if not isinstance(run_id, str) or not _RUN_ID.fullmatch(run_id):
        raise InvalidValue(
            "run_id",
            run_id,
            "must start with a letter or digit and have only letters, digits, '_' and '-', at most 256",
        )
    return run_id


def check_model_id(model_id: object) -> str:
    """A logged model's id, which is part of its files' location: letters, digits, `_` and `-`."""
    if not isinstance(model_id, str) or not _RUN_ID.fullmatch(model_id):
        raise InvalidValue("model_id", model_id, "must have only letters, digits, '_' and '-', at most 256")
    return model_id


def check_experiment_name(name: object) -> str:
    """An experiment's name: a non-empty string of at most 500 characters."""
    if not isinstance(name, str) or name == "":
        raise InvalidValue("experiment name", name, "must be a non-empty string")
    check_length("experiment name", name, MAX_EXPERIMENT_NAME_LENGTH)
    return name


def experiment_key(experiment_id: object) -> int:
    """An experiment id as the integer it is stored as."""
    return _integer_key("experiment_id", experiment_id)


def check_model_name(name: object, field: str = "model name") -> str:
    """A registered model's name: not blank, no `/` or `:`, no path that means another path."""
    if not isinstance(name, str) or not name.strip():
        raise InvalidValue(field, name, "must not be empty")
    if "/" in name or ":" in name:
        raise InvalidValue(field, name, "names cannot contain '/' or ':'")
    if _is_ambiguous_path(name):
        raise InvalidValue(field, name, "must not be '.', '..' or a path that means another")
    return name


def check_logged_model_name(name: str | None) -> None:
    """A logged model's name, where given: not empty, none of `/ : . % " '`."""
    if name is not None and (not name or any(character in name for character in _BAD_LOGGED_MODEL_CHARACTERS)):
        raise InvalidValue(
            "logged model name", name, f"must not be empty or contain any of {' '.join(_BAD_LOGGED_MODEL_CHARACTERS)}"
        )


def model_version_key(version: object) -> int:
    """A model version as the integer it is stored as."""
    return _integer_key("version", version)


def _integer_key(field: str, value: object) -> int:
    try:
        number = int(value)  # type: ignore[call-overload]  # whatever int() refuses is refused
    except (TypeError, ValueError) as error:
        raise InvalidValue(field, value, "must be an integer") from error
    return check_integer(field, number)


def check_alias(alias: object) -> str:
    """An alias: letters, digits, `_` and `-`; not `latest`, and not a version such as `v1`, which MLflow reserves."""
    if not isinstance(alias, str) or not _ALIAS.fullmatch(alias):
        raise InvalidValue("alias", alias, "must be non-empty and have only letters, digits, '_' and '-'")
    check_length("alias", alias, MAX_ALIAS_LENGTH)
    if alias.lower() == "latest" or _VERSION_ALIAS.fullmatch(alias):
        raise InvalidValue("alias", alias, "is reserved; choose a name that is not 'latest' or a version number")
    return alias


def check_model_tags(tags: Mapping[str, str]) -> None:
    """Tags of registered models and versions."""
    check_tags(tags.items(), max_value_length=MAX_MODEL_TAG_VALUE_LENGTH)


def _is_ambiguous_path(name: str) -> bool:
    normal = posixpath.normpath(name)
    return normal != name or normal == "." or normal.startswith(("..", "/"))
