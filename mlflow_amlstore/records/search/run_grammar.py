"""What a filter and an ordering of runs may say (MLflow's `SearchUtils`)."""

from mlflow_amlstore.records.search.grammar import (
    NUMBER_RULE,
    TEXT_OR_LIST_RULE,
    TEXT_OR_NULL_RULE,
    TEXT_RULE,
    Entity,
    Grammar,
    Vocabulary,
    same,
)

_WORDS = {
    **dict.fromkeys(("metric", "metrics"), Entity.METRIC),
    **dict.fromkeys(("parameter", "parameters", "param", "params"), Entity.PARAM),
    **dict.fromkeys(("tag", "tags"), Entity.TAG),
    **dict.fromkeys(("attribute", "attributes", "attr", "run"), Entity.ATTRIBUTE),
}
_ATTRIBUTES = {
    **same("run_id", "run_name", "user_id", "status", "start_time", "end_time", "artifact_uri"),
    **dict.fromkeys(("created", "Created"), "start_time"),
}
ORDER_VOCABULARY = Vocabulary(_WORDS, {Entity.ATTRIBUTE: _ATTRIBUTES})
GRAMMAR = Grammar(
    Vocabulary(
        {**_WORDS, **dict.fromkeys(("dataset", "datasets"), Entity.DATASET)},
        {
            Entity.ATTRIBUTE: {**_ATTRIBUTES, **dict.fromkeys(("run name", "Run name", "Run Name"), "run_name")},
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
