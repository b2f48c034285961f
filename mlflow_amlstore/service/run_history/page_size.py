"""How long a page is, as Azure ML's SDK asks for it."""

from mlflow_amlstore.records.validation import MAX_RUNS, check_max_results


def page_size(field: str, asked: int | None, default: int) -> int:
    """What a client asked for in a field; the default where it asked for nothing, or 0. Raises InvalidValue."""
    return check_max_results(asked or default, MAX_RUNS, field)
