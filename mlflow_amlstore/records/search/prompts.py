"""Prompts, which MLflow keeps as registered models with a tag: a search finds them where its filter asks for them."""

from collections.abc import Sequence

from mlflow_amlstore.records.search.filter import Comparison, Entity

PROMPT_TAG = "mlflow.prompt.is_prompt"


def is_on_prompt_tag(comparison: Comparison) -> bool:
    """Whether the comparison is about the tag that makes a model a prompt."""
    return comparison.entity is Entity.TAG and comparison.name == PROMPT_TAG


def asks_for_prompts(comparisons: Sequence[Comparison]) -> bool:
    """Whether a filter is about prompts, which its first comparison of their tag says."""
    first = next((comparison for comparison in comparisons if is_on_prompt_tag(comparison)), None)
    return first is not None and (first.comparator, str(first.value).lower()) in (("=", "true"), ("!=", "false"))
