"""Views of pages that people saved under names, in SQL."""

import builtins
import re

from sqlalchemy import delete, select

from mlflow_amlstore.errors import InvalidValue, NotFound
from mlflow_amlstore.records.database import Database
from mlflow_amlstore.records.dialects import insert_or_set
from mlflow_amlstore.records.tables import saved_views
from mlflow_amlstore.records.types import SavedView
from mlflow_amlstore.records.validation import MAX_TAG_VALUE_LENGTH, check_length, check_short_text

_VIEW = saved_views.c
_PAGE = re.compile(r"runs|experiments/[0-9]{1,19}/runs")  # the pages that have views
_MAX_NAME_LENGTH = 100


class SqlSavedViews:
    """Saved views of one workspace, which all its users share. A name is given once on a page."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def save(self, page: str, name: str, query: str, who: str) -> SavedView:
        """Keep a query of a page under a name, in place of the one that has the name, and return the view.

        The page is `runs` or `experiments/ID/runs`. The name has 1 to 100 characters, who saves 1 to 250, the query at
        most 8000. Raises InvalidValue.
        """
        if not _PAGE.fullmatch(page):
            raise InvalidValue("page", page, "must be runs or experiments/ID/runs, the pages that have views")
        check_short_text("name of a view", name)
        check_length("name of a view", name, _MAX_NAME_LENGTH)
        check_length("query", query, MAX_TAG_VALUE_LENGTH)
        check_short_text("who", who)
        view = SavedView(page, name, query, who, self._database.now_ms())
        values = {"page": page, "name": name, "query": query, "who": who, "saved_ms": view.saved_ms}
        with self._database.write() as connection:
            connection.execute(insert_or_set(saved_views, ["query", "who", "saved_ms"], values))
        return view

    def list(self, page: str) -> builtins.list[SavedView]:
        """Return the views of a page by name."""
        columns = (_VIEW.page, _VIEW.name, _VIEW.query, _VIEW.who, _VIEW.saved_ms)
        with self._database.read() as connection:
            rows = connection.execute(select(*columns).where(_VIEW.page == page).order_by(_VIEW.name))
            return [SavedView(*row) for row in rows]

    def delete(self, page: str, name: str) -> None:
        """Delete a view. Raises NotFound."""
        with self._database.write() as connection:
            removed = connection.execute(delete(saved_views).where(_VIEW.page == page, _VIEW.name == name))
            if not removed.rowcount:
                raise NotFound("saved view", name, f"The page {page!r} has no such view")
