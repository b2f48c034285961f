"""MLflow's search grammar over run records, executed in SQL.

A filter goes through `lexer` and `parser`, which follow the resource's `grammar`, to comparisons; the resource's module
(`runs`, `experiments`, `models`, `logged_models`) turns them and the ordering into one statement; `paging` runs it.
"""

from mlflow_amlstore.records.search.experiments import page_of_experiments
from mlflow_amlstore.records.search.logged_models import page_of_logged_models
from mlflow_amlstore.records.search.models import page_of_models, page_of_versions
from mlflow_amlstore.records.search.paging import (
    SortTerm,
    after_key,
    check_max_results,
    decode_token,
    encode_token,
    fetch_page,
    query_fingerprint,
    sort_clauses,
)
from mlflow_amlstore.records.search.runs import page_of_runs

__all__ = [
    "SortTerm",
    "after_key",
    "check_max_results",
    "decode_token",
    "encode_token",
    "fetch_page",
    "page_of_experiments",
    "page_of_logged_models",
    "page_of_models",
    "page_of_runs",
    "page_of_versions",
    "query_fingerprint",
    "sort_clauses",
]
