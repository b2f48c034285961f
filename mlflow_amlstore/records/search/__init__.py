"""MLflow's search grammar over run records, executed in SQL.

`lexer` and `parser` read a text once, by one of the `grammars`, into a `filter`. A search takes the filter: the
resource's module (`runs`, `experiments`, `models`, `logged_models`) makes one statement of its comparisons and the
ordering, and `paging` runs it.
"""
