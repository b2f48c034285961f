"""What looking at a workspace needs: the extremes of series, acts by hand, saved views, and runs by their time.

Revision ID: 0005
"""

import sqlalchemy as sa
from alembic import context, op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

_TEXT = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")  # compared by its bytes
_SERIES_AT_ONCE = 100

_FILL = sa.text(
    """
    UPDATE series SET
        (min_value, max_value) = (
            SELECT min(points.value), max(points.value) FROM points
            WHERE points.series_id = series.series_id AND points.value_type = 0
        ),
        extremes_step = last_step, extremes_timestamp_ms = last_timestamp_ms, extremes_seq = last_seq
    WHERE series_id >= :first AND series_id < :after
    """
)


def upgrade() -> None:
    for name, kind in (
        ("min_value", sa.Double()),
        ("max_value", sa.Double()),
        ("extremes_step", sa.BigInteger()),
        ("extremes_timestamp_ms", sa.BigInteger()),
        ("extremes_seq", sa.BigInteger()),
    ):
        op.add_column("series", sa.Column(name, kind, nullable=True))
    _fill_extremes()
    op.create_table(
        "acts",
        sa.Column("act_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("at_ms", sa.BigInteger(), nullable=False),
        sa.Column("subject_kind", _TEXT, nullable=False),
        sa.Column("subject_id", _TEXT, nullable=False),
        sa.Column("act", _TEXT, nullable=False),
        sa.Column("who", _TEXT, nullable=False),
        sa.Column("detail", _TEXT, nullable=False),
        sa.PrimaryKeyConstraint("act_id", name=op.f("pk_acts")),
    )
    op.create_index("ix_runs_start_ms_run_id", "runs", ["start_ms", "run_id"], unique=False)
    op.create_index(
        "ix_runs_experiment_id_status", "runs", ["experiment_id", "status", "deleted_ms", "start_ms"], unique=False
    )
    op.create_index("ix_acts_subject_kind_subject_id", "acts", ["subject_kind", "subject_id", "act_id"], unique=False)
    op.create_table(
        "saved_views",
        sa.Column("page", _TEXT, nullable=False),
        sa.Column("name", _TEXT, nullable=False),
        sa.Column("query", _TEXT, nullable=False),
        sa.Column("who", _TEXT, nullable=False),
        sa.Column("saved_ms", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("page", "name", name=op.f("pk_saved_views")),
        sqlite_with_rowid=False,
    )


def _fill_extremes() -> None:
    """From the points, which is one pass over all of them, some series at a time, to tell how far it has come."""
    connection, progress = op.get_bind(), context.config.attributes.get("progress")
    last = connection.scalar(sa.text("SELECT max(series_id) FROM series")) or 0
    for first in range(1, last + 1, _SERIES_AT_ONCE):
        connection.execute(_FILL, {"first": first, "after": first + _SERIES_AT_ONCE})
        if progress is not None:
            progress(min(first + _SERIES_AT_ONCE - 1, last), last)
