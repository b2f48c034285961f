"""What a submitted definition must be, so that a machine can run it.

A definition is the JSON form of a run configuration, as Azure ML's SDK sends it. It is checked where a submission is
recorded: what a runner can't start would be found out long after whoever sent it has gone.
"""

import math
from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import Any

from mlflow_amlstore.errors import InvalidValue
from mlflow_amlstore.runner.ranks import NO_TEXT, is_text, ranks_of


def check_definition(definition: Mapping[str, Any]) -> None:
    """Raise InvalidValue, naming the field, or NotSupported for what no machine can run."""
    ranks_of(definition, ["python"], port=0)
    script = definition.get("script")
    if script and not (isinstance(script, str) and is_text(script)):
        raise InvalidValue("script", script, NO_TEXT)
    if script and (PurePosixPath(script).is_absolute() or ".." in PurePosixPath(script).parts):
        raise InvalidValue("script", script, "must be a path below the source folder")
    variables_of(definition)
    longest_s = definition.get("maxRunDurationSeconds")
    is_number = isinstance(longest_s, int | float) and not isinstance(longest_s, bool)
    if longest_s is not None and not (is_number and 0 < longest_s < math.inf):
        raise InvalidValue("maxRunDurationSeconds", longest_s, "must be a number above 0, or null")


def variables_of(definition: Mapping[str, Any]) -> dict[str, str]:
    """The environment variables that a definition gives its script; its own beat those of its environment.

    Raises InvalidValue.
    """
    environment = definition.get("environment")
    if environment is not None and not isinstance(environment, Mapping):
        raise InvalidValue("environment", environment, "must be an object, or null")
    of_environment = (environment or {}).get("environmentVariables")
    return {**_texts(of_environment), **_texts(definition.get("environmentVariables"))}


def _texts(given: object) -> dict[str, str]:
    if given is None:
        return {}
    if not isinstance(given, Mapping):
        raise InvalidValue("environmentVariables", given, "must be an object of texts")
    texts = {}
    for name, value in given.items():
        is_name = isinstance(name, str) and name and "=" not in name
        if not is_name or not isinstance(value, str | int | float) or not is_text(f"{name}{value}"):
            rule = "must be texts in UTF-8 without NUL, and names without '='"
            raise InvalidValue("environmentVariables", {name: value}, rule)
        texts[name] = str(value)
    return texts
