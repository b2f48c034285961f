"""The schema of a workspace's records, in SQLAlchemy Core. Migrations bring a database to it (`records.migrations`).

Wide text keys are kept once: a run has an integer `run_pk`, a metric of a run an integer `series_id`, and a metric
point is one narrow row under it. Tables that are always read by their key are clustered on it (`WITHOUT ROWID` in
SQLite, which PostgreSQL ignores). A deleted thing has a `deleted_ms`; the rest are active.
"""

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    Double,
    ForeignKey,
    ForeignKeyConstraint,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    PrimaryKeyConstraint,
    SmallInteger,
    String,
    Table,
    UniqueConstraint,
)

from mlflow_amlstore.records.dialects import BYTE_TEXT, ID

metadata = MetaData(
    naming_convention={
        "pk": "pk_%(table_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s",
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
    }
)


def _named_values(table: str, *owner: Column[int]) -> Table:
    """A table of text values by name, under an owner: params, tags and properties are all of this shape."""
    return Table(
        table,
        metadata,
        *owner,
        Column("name", BYTE_TEXT, nullable=False),
        Column("value", BYTE_TEXT, nullable=False),
        PrimaryKeyConstraint(*[column.name for column in owner], "name"),
        sqlite_with_rowid=False,
    )


def _owner(name: str, target: str) -> Column[int]:
    return Column(name, ID, ForeignKey(target, ondelete="CASCADE"), nullable=False)


workspace = Table(
    "workspace",
    metadata,
    Column("workspace_id", String(36), primary_key=True),
    Column("created_ms", BigInteger, nullable=False),
)

experiments = Table(
    "experiments",
    metadata,
    Column("experiment_id", ID, primary_key=True),
    Column("name", BYTE_TEXT, nullable=False, unique=True),
    Column("artifact_location", BYTE_TEXT),
    Column("created_ms", BigInteger, nullable=False),
    Column("updated_ms", BigInteger, nullable=False),
    Column("deleted_ms", BigInteger),
    sqlite_autoincrement=True,  # an id is in URIs that people keep, so it is never given twice
)
experiment_tags = _named_values("experiment_tags", _owner("experiment_id", "experiments.experiment_id"))

runs = Table(
    "runs",
    metadata,
    Column("run_pk", ID, primary_key=True),
    Column("run_id", BYTE_TEXT, nullable=False, unique=True),
    _owner("experiment_id", "experiments.experiment_id"),
    Column("name", BYTE_TEXT, nullable=False),
    Column("status", String(16), nullable=False),
    Column("user_id", BYTE_TEXT, nullable=False),
    Column("created_ms", BigInteger, nullable=False),
    Column("start_ms", BigInteger),
    Column("end_ms", BigInteger),
    Column("deleted_ms", BigInteger),
    Column("parent_run_id", BYTE_TEXT),
    Column("snapshot_id", BYTE_TEXT),  # unused, and not every SQLite can drop it: a snapshot is named by a property
    Column("error", BYTE_TEXT),  # JSON: code and message
    Index("ix_runs_experiment_id_start_ms", "experiment_id", "start_ms", "run_id"),
    Index("ix_runs_parent_run_id", "parent_run_id"),
    Index("ix_runs_start_ms_run_id", "start_ms", "run_id"),
    Index("ix_runs_experiment_id_status", "experiment_id", "status", "deleted_ms", "start_ms"),
)
RUN_FACTS = [column for column in runs.c if column.name != "snapshot_id"]
run_params = _named_values("run_params", _owner("run_pk", "runs.run_pk"))
run_tags = _named_values("run_tags", _owner("run_pk", "runs.run_pk"))
run_properties = _named_values("run_properties", _owner("run_pk", "runs.run_pk"))

# JSON: what the SDK sends of the configuration that a run was submitted with.
run_definitions = Table(
    "run_definitions",
    metadata,
    Column("run_pk", ID, ForeignKey("runs.run_pk", ondelete="CASCADE"), primary_key=True, autoincrement=False),
    Column("definition", BYTE_TEXT, nullable=False),
)

# What runs are submitted to, by name; `settings` is JSON.
compute_targets = Table(
    "compute_targets",
    metadata,
    Column("name", BYTE_TEXT, primary_key=True),
    Column("kind", BYTE_TEXT, nullable=False),
    Column("slots", Integer, nullable=False),
    Column("settings", BYTE_TEXT, nullable=False),
    Column("created_ms", BigInteger, nullable=False),
    sqlite_with_rowid=False,
)

# Registered environments; `definition` is JSON as the SDK sends it. `ordinal` counts the versions of a name from 1.
environments = Table(
    "environments",
    metadata,
    Column("name", BYTE_TEXT, primary_key=True),
    Column("version", BYTE_TEXT, primary_key=True),
    Column("ordinal", Integer, nullable=False),
    Column("definition", BYTE_TEXT, nullable=False),
    Column("created_ms", BigInteger, nullable=False),
    UniqueConstraint("name", "ordinal"),
    sqlite_with_rowid=False,
)

# Which process set a run going that isn't a submitted one: `lock_name` is the file in the workspace that this process
# locks as long as it lives. A process that ends as it should deletes its rows.
run_processes = Table(
    "run_processes",
    metadata,
    Column("run_pk", ID, ForeignKey("runs.run_pk", ondelete="CASCADE"), primary_key=True, autoincrement=False),
    Column("machine", BYTE_TEXT, nullable=False),
    Column("lock_name", BYTE_TEXT, nullable=False),
)

# A run that was submitted over a service, with the key behind that: it waits for an agent, or its holder looks after it
# until `ends_ms`. One that has started is never handed on. The row goes when its runner has done with it.
run_leases = Table(
    "run_leases",
    metadata,
    Column("run_pk", ID, ForeignKey("runs.run_pk", ondelete="CASCADE"), primary_key=True, autoincrement=False),
    Column("target", BYTE_TEXT, nullable=False),
    Column("key_id", BYTE_TEXT, nullable=False),
    Column("holder", BYTE_TEXT),
    Column("ends_ms", BigInteger),
    Column("has_started", Boolean, nullable=False),
    Index(None, "target", "run_pk"),
)

# One metric name of one run as MLflow sees it. A column of a row or table has `metric` and `column_name`, and the name
# `metric.column_name`; a scalar or a list has its own name in `metric` and "" in `column_name`. `last_…` is the latest
# point in MLflow's sense: highest step, then time, then value; `last_seq` is the highest `seq` of its points.
# `min_value` and `max_value` are over its numbers, `extremes_…` what `last_…` was when these were set. Clustered
# by run, so that a page of runs reads the latest points of each in one place; `series_id` is given out by
# `sql.series_ids`.
series = Table(
    "series",
    metadata,
    _owner("run_pk", "runs.run_pk"),
    Column("name", BYTE_TEXT, nullable=False),
    Column("metric", BYTE_TEXT, nullable=False),
    Column("column_name", BYTE_TEXT, nullable=False),
    Column("kind", String(8), nullable=False),
    Column("last_step", BigInteger, nullable=False),
    Column("last_timestamp_ms", BigInteger, nullable=False),
    Column("last_value", Double, nullable=False),
    Column("last_value_type", SmallInteger, nullable=False),
    Column("series_id", ID, nullable=False, unique=True),
    Column("last_seq", BigInteger, nullable=False, server_default="0"),
    Column("min_value", Double),
    Column("max_value", Double),
    Column("extremes_step", BigInteger),
    Column("extremes_timestamp_ms", BigInteger),
    Column("extremes_seq", BigInteger),
    PrimaryKeyConstraint("run_pk", "name"),
    sqlite_with_rowid=False,
)

# By the name that `Run` logs under, which is a row's or a table's, not that of its columns.
metric_descriptions = _named_values("metric_descriptions", _owner("run_pk", "runs.run_pk"))

# `value_type`: SQLite can't hold NaN, and what `Run` logs may be text, or nothing (TEXT without one). An integer or a
# boolean is a NUMBER with its JSON in `text`.
NUMBER, NAN, TEXT = 0, 1, 2

# The primary key makes a point that is logged again the same point (MLflow's rule). Values that may repeat, those that
# `Run` logs, are told apart by `seq`, their order from 1 in their metric; MLflow's points have 0.
points = Table(
    "points",
    metadata,
    _owner("series_id", "series.series_id"),
    Column("step", BigInteger, nullable=False),
    Column("timestamp_ms", BigInteger, nullable=False),
    Column("value", Double, nullable=False),
    Column("value_type", SmallInteger, nullable=False),
    Column("seq", BigInteger, nullable=False),
    Column("text", BYTE_TEXT),
    PrimaryKeyConstraint("series_id", "step", "timestamp_ms", "value", "value_type", "seq"),
    sqlite_with_rowid=False,
)

datasets = Table(
    "datasets",
    metadata,
    Column("dataset_id", ID, primary_key=True),
    _owner("experiment_id", "experiments.experiment_id"),
    Column("name", BYTE_TEXT, nullable=False),
    Column("digest", BYTE_TEXT, nullable=False),
    Column("source_type", BYTE_TEXT, nullable=False),
    Column("source", BYTE_TEXT, nullable=False),
    Column("schema", BYTE_TEXT),
    Column("profile", BYTE_TEXT),
    UniqueConstraint("experiment_id", "name", "digest"),
)
run_datasets = Table(
    "run_datasets",
    metadata,
    _owner("run_pk", "runs.run_pk"),
    _owner("dataset_id", "datasets.dataset_id"),
    PrimaryKeyConstraint("run_pk", "dataset_id"),
    sqlite_with_rowid=False,
)
run_dataset_tags = _named_values(
    "run_dataset_tags", _owner("run_pk", "runs.run_pk"), _owner("dataset_id", "datasets.dataset_id")
)

# No foreign key on `model_id`: a run may name a model of another workspace.
run_models = Table(
    "run_models",
    metadata,
    _owner("run_pk", "runs.run_pk"),
    Column("direction", String(6), nullable=False),
    Column("model_id", BYTE_TEXT, nullable=False),
    Column("step", BigInteger, nullable=False),
    PrimaryKeyConstraint("run_pk", "direction", "model_id", "step"),
    sqlite_with_rowid=False,
)

logged_models = Table(
    "logged_models",
    metadata,
    Column("model_pk", ID, primary_key=True),
    Column("model_id", BYTE_TEXT, nullable=False, unique=True),
    _owner("experiment_id", "experiments.experiment_id"),
    Column("name", BYTE_TEXT, nullable=False),
    Column("model_type", BYTE_TEXT),
    Column("status", String(16), nullable=False),
    Column("status_message", BYTE_TEXT),
    Column("source_run_id", BYTE_TEXT),
    Column("created_ms", BigInteger, nullable=False),
    Column("updated_ms", BigInteger, nullable=False),
    Column("deleted_ms", BigInteger),
    Index("ix_logged_models_experiment_id_created_ms", "experiment_id", "created_ms"),
)
logged_model_params = _named_values("logged_model_params", _owner("model_pk", "logged_models.model_pk"))
logged_model_tags = _named_values("logged_model_tags", _owner("model_pk", "logged_models.model_pk"))

# The dataset columns are "" where a metric isn't about a dataset, so that they can be part of the key.
logged_model_metrics = Table(
    "logged_model_metrics",
    metadata,
    _owner("model_pk", "logged_models.model_pk"),
    Column("name", BYTE_TEXT, nullable=False),
    Column("dataset_name", BYTE_TEXT, nullable=False),
    Column("dataset_digest", BYTE_TEXT, nullable=False),
    Column("step", BigInteger, nullable=False),
    Column("timestamp_ms", BigInteger, nullable=False),
    Column("run_id", BYTE_TEXT, nullable=False),
    Column("value", Double, nullable=False),
    Column("value_type", SmallInteger, nullable=False),
    PrimaryKeyConstraint(
        "model_pk", "name", "dataset_name", "dataset_digest", "step", "timestamp_ms", "run_id", "value", "value_type"
    ),
    sqlite_with_rowid=False,
)

registered_models = Table(
    "registered_models",
    metadata,
    Column("registered_pk", ID, primary_key=True),
    Column("name", BYTE_TEXT, nullable=False, unique=True),
    Column("description", BYTE_TEXT),
    Column("deployment_job_id", BYTE_TEXT),
    Column("created_ms", BigInteger, nullable=False),
    Column("updated_ms", BigInteger, nullable=False),
)
registered_model_tags = _named_values(
    "registered_model_tags", _owner("registered_pk", "registered_models.registered_pk")
)
registered_model_aliases = Table(
    "registered_model_aliases",
    metadata,
    _owner("registered_pk", "registered_models.registered_pk"),
    Column("alias", BYTE_TEXT, nullable=False),
    Column("version", Integer, nullable=False),
    PrimaryKeyConstraint("registered_pk", "alias"),
    sqlite_with_rowid=False,
)
model_versions = Table(
    "model_versions",
    metadata,
    _owner("registered_pk", "registered_models.registered_pk"),
    Column("version", Integer, nullable=False),
    Column("description", BYTE_TEXT),
    Column("user_id", BYTE_TEXT),
    Column("stage", String(16), nullable=False),
    Column("source", BYTE_TEXT, nullable=False),
    Column("storage_location", BYTE_TEXT, nullable=False),
    Column("run_id", BYTE_TEXT),
    Column("run_link", BYTE_TEXT),
    Column("status", String(32), nullable=False),
    Column("status_message", BYTE_TEXT),
    Column("model_id", BYTE_TEXT),
    Column("created_ms", BigInteger, nullable=False),
    Column("updated_ms", BigInteger, nullable=False),
    Column("deleted_ms", BigInteger),
    PrimaryKeyConstraint("registered_pk", "version"),
    sqlite_with_rowid=False,
)


def _values_of_versions(table: str) -> Table:
    """A table of text values by name, of a model version."""
    return Table(
        table,
        metadata,
        Column("registered_pk", ID, nullable=False),
        Column("version", Integer, nullable=False),
        Column("name", BYTE_TEXT, nullable=False),
        Column("value", BYTE_TEXT, nullable=False),
        PrimaryKeyConstraint("registered_pk", "version", "name"),
        ForeignKeyConstraint(
            ["registered_pk", "version"],
            ["model_versions.registered_pk", "model_versions.version"],
            ondelete="CASCADE",
        ),
        sqlite_with_rowid=False,
    )


model_version_tags = _values_of_versions("model_version_tags")
model_version_properties = _values_of_versions("model_version_properties")

# `container` is a location as `records.locations` has it; the bytes lie under their hash (`records.sql.files`).
files = Table(
    "files",
    metadata,
    Column("container", BYTE_TEXT, nullable=False),
    Column("path", BYTE_TEXT, nullable=False),
    Column("size_bytes", BigInteger, nullable=False),
    Column("sha256", String(64), nullable=False),
    Column("content_type", BYTE_TEXT, nullable=False),
    Column("modified_ms", BigInteger, nullable=False),
    Column("md5", String(32)),  # as the one who sent the content gave it
    PrimaryKeyConstraint("container", "path"),
    CheckConstraint("size_bytes >= 0", name="size_bytes"),
    Index("ix_files_sha256", "sha256"),
    sqlite_with_rowid=False,
)

# Keys of a service over this workspace, hashed.
keys = Table(
    "keys",
    metadata,
    Column("key_id", BYTE_TEXT, primary_key=True),
    Column("name", BYTE_TEXT, nullable=False),
    Column("role", BYTE_TEXT, nullable=False),
    Column("sha256", String(64), nullable=False),
    Column("created_ms", BigInteger, nullable=False),
    Column("revoked_ms", BigInteger),
    sqlite_with_rowid=False,
)

# Writes of clients that may send one again, and what they were answered.
applied_requests = Table(
    "applied_requests",
    metadata,
    Column("request_id", BYTE_TEXT, primary_key=True),
    Column("answer", LargeBinary, nullable=False),
    Column("applied_ms", BigInteger, nullable=False),
    Index("ix_applied_requests_applied_ms", "applied_ms"),
    sqlite_with_rowid=False,
)

# What people did by hand, and who they were.
acts = Table(
    "acts",
    metadata,
    Column("act_id", ID, primary_key=True),
    Column("at_ms", BigInteger, nullable=False),
    Column("subject_kind", BYTE_TEXT, nullable=False),
    Column("subject_id", BYTE_TEXT, nullable=False),
    Column("act", BYTE_TEXT, nullable=False),
    Column("who", BYTE_TEXT, nullable=False),
    Column("detail", BYTE_TEXT, nullable=False),
    Index("ix_acts_subject_kind_subject_id", "subject_kind", "subject_id", "act_id"),
)
saved_views = Table(
    "saved_views",
    metadata,
    Column("page", BYTE_TEXT, nullable=False),
    Column("name", BYTE_TEXT, nullable=False),
    Column("query", BYTE_TEXT, nullable=False),
    Column("who", BYTE_TEXT, nullable=False),
    Column("saved_ms", BigInteger, nullable=False),
    PrimaryKeyConstraint("page", "name"),
    sqlite_with_rowid=False,
)
