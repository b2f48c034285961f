"""Alembic's entry: migrates the connection that `records.schema` hands over, inside its transaction."""

from alembic import context

from mlflow_amlstore.records.tables import metadata

context.configure(connection=context.config.attributes["connection"], target_metadata=metadata)
context.run_migrations()
