"""Everything that a search finds, of all its pages."""

from collections.abc import Callable, Iterator
from typing import TypeVar

from mlflow_amlstore.records.types import Page

T = TypeVar("T")


def all_items(search: Callable[..., Page[T]]) -> Iterator[T]:
    """Yield the items of one page after another; `search` takes a `page_token`."""
    token = None
    while True:
        page = search(page_token=token)
        yield from page.items
        token = page.next_token
        if token is None:
            return
