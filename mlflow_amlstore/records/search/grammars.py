"""What the filters and orderings of each resource may say, as in MLflow."""

from mlflow_amlstore.records.search.filter import Entity
from mlflow_amlstore.records.search.grammar import (
    EQUAL,
    IN,
    INTEGER_RULE,
    LIKE,
    NUMBER_RULE,
    TEXT_OR_LIST_RULE,
    TEXT_OR_NULL_RULE,
    TEXT_RULE,
    Rule,
    ValueRefused,
    Vocabulary,
    read_id,
    read_number,
    read_text,
    read_version,
    same,
)
from mlflow_amlstore.records.search.lexer import Kind, Token
from mlflow_amlstore.records.search.parser import Grammar

# Runs (`SearchUtils`)

_RUN_WORDS = {
    **dict.fromkeys(("metric", "metrics"), Entity.METRIC),
    **dict.fromkeys(("parameter", "parameters", "param", "params"), Entity.PARAM),
    **dict.fromkeys(("tag", "tags"), Entity.TAG),
    **dict.fromkeys(("attribute", "attributes", "attr", "run"), Entity.ATTRIBUTE),
}
_RUN_ATTRIBUTES = {
    **same("run_id", "run_name", "user_id", "status", "start_time", "end_time", "artifact_uri"),
    **dict.fromkeys(("created", "Created"), "start_time"),
}
RUNS = Grammar(
    Vocabulary(
        {**_RUN_WORDS, **dict.fromkeys(("dataset", "datasets"), Entity.DATASET)},
        {
            Entity.ATTRIBUTE: {**_RUN_ATTRIBUTES, **dict.fromkeys(("run name", "Run name", "Run Name"), "run_name")},
            Entity.DATASET: same("name", "digest", "context"),
        },
    ),
    {
        Entity.METRIC: NUMBER_RULE,
        Entity.PARAM: TEXT_OR_NULL_RULE,
        Entity.TAG: TEXT_OR_NULL_RULE,
        Entity.DATASET: TEXT_OR_LIST_RULE,
        Entity.ATTRIBUTE: TEXT_RULE,
    },
    {"start_time": NUMBER_RULE, "end_time": NUMBER_RULE, "run_id": TEXT_OR_LIST_RULE},
)
RUN_ORDER = Vocabulary(_RUN_WORDS, {Entity.ATTRIBUTE: _RUN_ATTRIBUTES})

# Experiments (`SearchExperimentsUtils`)

_EXPERIMENT_ATTRIBUTES = {Entity.ATTRIBUTE: same("name", "experiment_id", "creation_time", "last_update_time")}
EXPERIMENTS = Grammar(
    Vocabulary({"attribute": Entity.ATTRIBUTE, "tag": Entity.TAG, "tags": Entity.TAG}, _EXPERIMENT_ATTRIBUTES),
    {Entity.TAG: TEXT_OR_NULL_RULE, Entity.ATTRIBUTE: TEXT_RULE},
    {
        "experiment_id": Rule((*EQUAL, *IN), read_id),
        "creation_time": INTEGER_RULE,
        "last_update_time": INTEGER_RULE,
    },
)
EXPERIMENT_ORDER = Vocabulary({"attribute": Entity.ATTRIBUTE}, _EXPERIMENT_ATTRIBUTES)

# Registered models and their versions (`SearchModelUtils`, `SearchModelVersionUtils`)

_MODEL_WORDS = {"attribute": Entity.ATTRIBUTE, "tag": Entity.TAG, "tags": Entity.TAG}
MODELS = Grammar(
    Vocabulary(_MODEL_WORDS, {Entity.ATTRIBUTE: same("name")}),
    {Entity.TAG: TEXT_RULE, Entity.ATTRIBUTE: TEXT_OR_LIST_RULE},
)
MODEL_ORDER = Vocabulary(
    {},
    {Entity.ATTRIBUTE: {"name": "name", **dict.fromkeys(("timestamp", "last_updated_timestamp"), "updated")}},
)
VERSIONS = Grammar(
    Vocabulary(_MODEL_WORDS, {Entity.ATTRIBUTE: same("name", "version_number", "run_id", "source_path")}),
    {Entity.TAG: TEXT_RULE, Entity.ATTRIBUTE: TEXT_OR_LIST_RULE},
    {"version_number": Rule(NUMBER_RULE.comparators, read_version), "source_path": TEXT_RULE},
)
VERSION_ORDER = Vocabulary(
    {"attribute": Entity.ATTRIBUTE},
    {Entity.ATTRIBUTE: same("name", "version_number", "creation_timestamp", "last_updated_timestamp")},
)

# Logged models (`search_logged_model_utils`)


def _read_loose_text(token: Token) -> str:
    """A value in quotes, or a bare number or word: MLflow takes `params.lr = 0.01` here."""
    if token.kind in (Kind.NUMBER, Kind.NAME):
        return token.text
    return read_text(token)


def _read_loose_number(token: Token) -> int | float:
    """A number, or `inf` and `nan`, which MLflow takes here."""
    if token.kind is Kind.NAME:
        try:
            return float(token.text)
        except ValueError:
            raise ValueRefused("the value must be a number, without quotes") from None
    return read_number(token)


_LOOSE_TEXT = Rule((*LIKE, *IN), _read_loose_text)
_LOOSE_NUMBER = Rule(NUMBER_RULE.comparators, _read_loose_number)
LOGGED_MODEL_ATTRIBUTES = {
    **same("model_id", "experiment_id", "name", "model_type", "status", "status_message", "source_run_id"),
    **same("artifact_location", "lifecycle_stage"),
    **dict.fromkeys(("creation_timestamp_ms", "creation_timestamp", "creation_time"), "created"),
    **dict.fromkeys(("last_updated_timestamp_ms", "last_updated_timestamp"), "updated"),
}
LOGGED_MODELS = Grammar(
    Vocabulary(
        {"attributes": Entity.ATTRIBUTE, "metrics": Entity.METRIC, "params": Entity.PARAM, "tags": Entity.TAG},
        {Entity.ATTRIBUTE: LOGGED_MODEL_ATTRIBUTES},
    ),
    {
        Entity.ATTRIBUTE: _LOOSE_TEXT,
        Entity.PARAM: _LOOSE_TEXT,
        Entity.TAG: _LOOSE_TEXT,
        Entity.METRIC: _LOOSE_NUMBER,
    },
    {"created": _LOOSE_NUMBER, "updated": _LOOSE_NUMBER},
)
