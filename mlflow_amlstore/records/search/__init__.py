"""MLflow's search grammar over run records, executed in SQL.

A filter goes through `lexer` and `parser`, which follow the resource's `grammar`, to comparisons; the resource's module
(`runs`, `experiments`, `models`, `logged_models`) turns them and the ordering into one statement; `paging` runs it.
"""
