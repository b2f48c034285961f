"""The whole run record: experiments, runs, metrics, files, inputs and outputs, models.

Revision ID: 0001
"""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

_TEXT = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")  # compared by its bytes


def upgrade() -> None:
    op.create_table(
        "experiments",
        sa.Column("experiment_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("name", _TEXT, nullable=False),
        sa.Column("artifact_location", _TEXT, nullable=True),
        sa.Column("created_ms", sa.BigInteger(), nullable=False),
        sa.Column("updated_ms", sa.BigInteger(), nullable=False),
        sa.Column("deleted_ms", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("experiment_id", name=op.f("pk_experiments")),
        sa.UniqueConstraint("name", name=op.f("uq_experiments_name")),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "files",
        sa.Column("container", _TEXT, nullable=False),
        sa.Column("path", _TEXT, nullable=False),
        sa.Column("size_bytes", sa.BigInteger(), nullable=False),
        sa.Column("sha256", sa.String(length=64), nullable=False),
        sa.Column("content_type", _TEXT, nullable=False),
        sa.Column("modified_ms", sa.BigInteger(), nullable=False),
        sa.CheckConstraint("size_bytes >= 0", name=op.f("ck_files_size_bytes")),
        sa.PrimaryKeyConstraint("container", "path", name=op.f("pk_files")),
        sqlite_with_rowid=False,
    )
    op.create_index("ix_files_sha256", "files", ["sha256"], unique=False)
    op.create_table(
        "registered_models",
        sa.Column("registered_pk", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("name", _TEXT, nullable=False),
        sa.Column("description", _TEXT, nullable=True),
        sa.Column("deployment_job_id", _TEXT, nullable=True),
        sa.Column("created_ms", sa.BigInteger(), nullable=False),
        sa.Column("updated_ms", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("registered_pk", name=op.f("pk_registered_models")),
        sa.UniqueConstraint("name", name=op.f("uq_registered_models_name")),
    )
    op.create_table(
        "workspace",
        sa.Column("workspace_id", sa.String(length=36), nullable=False),
        sa.Column("created_ms", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("workspace_id", name=op.f("pk_workspace")),
    )
    op.create_table(
        "datasets",
        sa.Column("dataset_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("experiment_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("name", _TEXT, nullable=False),
        sa.Column("digest", _TEXT, nullable=False),
        sa.Column("source_type", _TEXT, nullable=False),
        sa.Column("source", _TEXT, nullable=False),
        sa.Column("schema", _TEXT, nullable=True),
        sa.Column("profile", _TEXT, nullable=True),
        sa.ForeignKeyConstraint(
            ["experiment_id"], ["experiments.experiment_id"], name=op.f("fk_datasets_experiment_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("dataset_id", name=op.f("pk_datasets")),
        sa.UniqueConstraint("experiment_id", "name", "digest", name=op.f("uq_datasets_experiment_id_name_digest")),
    )
    op.create_table(
        "experiment_tags",
        sa.Column("experiment_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("name", _TEXT, nullable=False),
        sa.Column("value", _TEXT, nullable=False),
        sa.ForeignKeyConstraint(
            ["experiment_id"],
            ["experiments.experiment_id"],
            name=op.f("fk_experiment_tags_experiment_id"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("experiment_id", "name", name=op.f("pk_experiment_tags")),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "logged_models",
        sa.Column("model_pk", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("model_id", _TEXT, nullable=False),
        sa.Column("experiment_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("name", _TEXT, nullable=False),
        sa.Column("model_type", _TEXT, nullable=True),
        sa.Column("status", sa.String(length=16), nullable=False),
        sa.Column("status_message", _TEXT, nullable=True),
        sa.Column("source_run_id", _TEXT, nullable=True),
        sa.Column("created_ms", sa.BigInteger(), nullable=False),
        sa.Column("updated_ms", sa.BigInteger(), nullable=False),
        sa.Column("deleted_ms", sa.BigInteger(), nullable=True),
        sa.ForeignKeyConstraint(
            ["experiment_id"],
            ["experiments.experiment_id"],
            name=op.f("fk_logged_models_experiment_id"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("model_pk", name=op.f("pk_logged_models")),
        sa.UniqueConstraint("model_id", name=op.f("uq_logged_models_model_id")),
    )
    op.create_index(
        "ix_logged_models_experiment_id_created_ms", "logged_models", ["experiment_id", "created_ms"], unique=False
    )
    op.create_table(
        "model_versions",
        sa.Column("registered_pk", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("description", _TEXT, nullable=True),
        sa.Column("user_id", _TEXT, nullable=True),
        sa.Column("stage", sa.String(length=16), nullable=False),
        sa.Column("source", _TEXT, nullable=False),
        sa.Column("storage_location", _TEXT, nullable=False),
        sa.Column("run_id", _TEXT, nullable=True),
        sa.Column("run_link", _TEXT, nullable=True),
        sa.Column("status", sa.String(length=32), nullable=False),
        sa.Column("status_message", _TEXT, nullable=True),
        sa.Column("model_id", _TEXT, nullable=True),
        sa.Column("created_ms", sa.BigInteger(), nullable=False),
        sa.Column("updated_ms", sa.BigInteger(), nullable=False),
        sa.Column("deleted_ms", sa.BigInteger(), nullable=True),
        sa.ForeignKeyConstraint(
            ["registered_pk"],
            ["registered_models.registered_pk"],
            name=op.f("fk_model_versions_registered_pk"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("registered_pk", "version", name=op.f("pk_model_versions")),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "registered_model_aliases",
        sa.Column("registered_pk", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("alias", _TEXT, nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(
            ["registered_pk"],
            ["registered_models.registered_pk"],
            name=op.f("fk_registered_model_aliases_registered_pk"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("registered_pk", "alias", name=op.f("pk_registered_model_aliases")),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "registered_model_tags",
        sa.Column("registered_pk", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("name", _TEXT, nullable=False),
        sa.Column("value", _TEXT, nullable=False),
        sa.ForeignKeyConstraint(
            ["registered_pk"],
            ["registered_models.registered_pk"],
            name=op.f("fk_registered_model_tags_registered_pk"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("registered_pk", "name", name=op.f("pk_registered_model_tags")),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "runs",
        sa.Column("run_pk", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("run_id", _TEXT, nullable=False),
        sa.Column("experiment_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("name", _TEXT, nullable=False),
        sa.Column("status", sa.String(length=16), nullable=False),
        sa.Column("user_id", _TEXT, nullable=False),
        sa.Column("created_ms", sa.BigInteger(), nullable=False),
        sa.Column("start_ms", sa.BigInteger(), nullable=True),
        sa.Column("end_ms", sa.BigInteger(), nullable=True),
        sa.Column("deleted_ms", sa.BigInteger(), nullable=True),
        sa.Column("parent_run_id", _TEXT, nullable=True),
        sa.Column("snapshot_id", _TEXT, nullable=True),
        sa.Column("error", _TEXT, nullable=True),
        sa.ForeignKeyConstraint(
            ["experiment_id"], ["experiments.experiment_id"], name=op.f("fk_runs_experiment_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("run_pk", name=op.f("pk_runs")),
        sa.UniqueConstraint("run_id", name=op.f("uq_runs_run_id")),
    )
    op.create_index("ix_runs_experiment_id_start_ms", "runs", ["experiment_id", "start_ms", "run_id"], unique=False)
    op.create_index("ix_runs_parent_run_id", "runs", ["parent_run_id"], unique=False)
    op.create_table(
        "logged_model_metrics",
        sa.Column("model_pk", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("name", _TEXT, nullable=False),
        sa.Column("dataset_name", _TEXT, nullable=False),
        sa.Column("dataset_digest", _TEXT, nullable=False),
        sa.Column("step", sa.BigInteger(), nullable=False),
        sa.Column("timestamp_ms", sa.BigInteger(), nullable=False),
        sa.Column("run_id", _TEXT, nullable=False),
        sa.Column("value", sa.Double(), nullable=False),
        sa.Column("value_type", sa.SmallInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["model_pk"], ["logged_models.model_pk"], name=op.f("fk_logged_model_metrics_model_pk"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint(
            "model_pk",
            "name",
            "dataset_name",
            "dataset_digest",
            "step",
            "timestamp_ms",
            "run_id",
            "value",
            "value_type",
            name=op.f("pk_logged_model_metrics"),
        ),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "logged_model_params",
        sa.Column("model_pk", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("name", _TEXT, nullable=False),
        sa.Column("value", _TEXT, nullable=False),
        sa.ForeignKeyConstraint(
            ["model_pk"], ["logged_models.model_pk"], name=op.f("fk_logged_model_params_model_pk"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("model_pk", "name", name=op.f("pk_logged_model_params")),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "logged_model_tags",
        sa.Column("model_pk", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("name", _TEXT, nullable=False),
        sa.Column("value", _TEXT, nullable=False),
        sa.ForeignKeyConstraint(
            ["model_pk"], ["logged_models.model_pk"], name=op.f("fk_logged_model_tags_model_pk"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("model_pk", "name", name=op.f("pk_logged_model_tags")),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "model_version_tags",
        sa.Column("registered_pk", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("name", _TEXT, nullable=False),
        sa.Column("value", _TEXT, nullable=False),
        sa.ForeignKeyConstraint(
            ["registered_pk", "version"],
            ["model_versions.registered_pk", "model_versions.version"],
            name=op.f("fk_model_version_tags_registered_pk"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("registered_pk", "version", "name", name=op.f("pk_model_version_tags")),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "run_dataset_tags",
        sa.Column("run_pk", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("dataset_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("name", _TEXT, nullable=False),
        sa.Column("value", _TEXT, nullable=False),
        sa.ForeignKeyConstraint(
            ["dataset_id"], ["datasets.dataset_id"], name=op.f("fk_run_dataset_tags_dataset_id"), ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(
            ["run_pk"], ["runs.run_pk"], name=op.f("fk_run_dataset_tags_run_pk"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("run_pk", "dataset_id", "name", name=op.f("pk_run_dataset_tags")),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "run_datasets",
        sa.Column("run_pk", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("dataset_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.ForeignKeyConstraint(
            ["dataset_id"], ["datasets.dataset_id"], name=op.f("fk_run_datasets_dataset_id"), ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(["run_pk"], ["runs.run_pk"], name=op.f("fk_run_datasets_run_pk"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("run_pk", "dataset_id", name=op.f("pk_run_datasets")),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "run_models",
        sa.Column("run_pk", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("direction", sa.String(length=6), nullable=False),
        sa.Column("model_id", _TEXT, nullable=False),
        sa.Column("step", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["run_pk"], ["runs.run_pk"], name=op.f("fk_run_models_run_pk"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("run_pk", "direction", "model_id", "step", name=op.f("pk_run_models")),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "run_params",
        sa.Column("run_pk", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("name", _TEXT, nullable=False),
        sa.Column("value", _TEXT, nullable=False),
        sa.ForeignKeyConstraint(["run_pk"], ["runs.run_pk"], name=op.f("fk_run_params_run_pk"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("run_pk", "name", name=op.f("pk_run_params")),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "run_properties",
        sa.Column("run_pk", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("name", _TEXT, nullable=False),
        sa.Column("value", _TEXT, nullable=False),
        sa.ForeignKeyConstraint(["run_pk"], ["runs.run_pk"], name=op.f("fk_run_properties_run_pk"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("run_pk", "name", name=op.f("pk_run_properties")),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "run_tags",
        sa.Column("run_pk", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("name", _TEXT, nullable=False),
        sa.Column("value", _TEXT, nullable=False),
        sa.ForeignKeyConstraint(["run_pk"], ["runs.run_pk"], name=op.f("fk_run_tags_run_pk"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("run_pk", "name", name=op.f("pk_run_tags")),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "series",
        sa.Column("run_pk", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("name", _TEXT, nullable=False),
        sa.Column("metric", _TEXT, nullable=False),
        sa.Column("column_name", _TEXT, nullable=False),
        sa.Column("kind", sa.String(length=8), nullable=False),
        sa.Column("last_step", sa.BigInteger(), nullable=False),
        sa.Column("last_timestamp_ms", sa.BigInteger(), nullable=False),
        sa.Column("last_value", sa.Double(), nullable=False),
        sa.Column("last_value_type", sa.SmallInteger(), nullable=False),
        sa.Column("series_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.ForeignKeyConstraint(["run_pk"], ["runs.run_pk"], name=op.f("fk_series_run_pk"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("run_pk", "name", name=op.f("pk_series")),
        sa.UniqueConstraint("series_id", name=op.f("uq_series_series_id")),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "points",
        sa.Column("series_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("step", sa.BigInteger(), nullable=False),
        sa.Column("timestamp_ms", sa.BigInteger(), nullable=False),
        sa.Column("value", sa.Double(), nullable=False),
        sa.Column("value_type", sa.SmallInteger(), nullable=False),
        sa.Column("seq", sa.BigInteger(), nullable=False),
        sa.Column("text", _TEXT, nullable=True),
        sa.ForeignKeyConstraint(
            ["series_id"], ["series.series_id"], name=op.f("fk_points_series_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint(
            "series_id", "step", "timestamp_ms", "value", "value_type", "seq", name=op.f("pk_points")
        ),
        sqlite_with_rowid=False,
    )
