"""How a run was submitted, where to, and who looks after it.

Revision ID: 0006
"""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

_TEXT = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")  # compared by its bytes
_ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    op.create_table(
        "run_definitions",
        sa.Column("run_pk", _ID, nullable=False),
        sa.Column("definition", _TEXT, nullable=False),
        sa.ForeignKeyConstraint(
            ["run_pk"], ["runs.run_pk"], name=op.f("fk_run_definitions_run_pk"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("run_pk", name=op.f("pk_run_definitions")),
    )
    op.create_table(
        "compute_targets",
        sa.Column("name", _TEXT, nullable=False),
        sa.Column("kind", _TEXT, nullable=False),
        sa.Column("slots", sa.Integer(), nullable=False),
        sa.Column("settings", _TEXT, nullable=False),
        sa.Column("created_ms", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_compute_targets")),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "environments",
        sa.Column("name", _TEXT, nullable=False),
        sa.Column("version", _TEXT, nullable=False),
        sa.Column("ordinal", sa.Integer(), nullable=False),
        sa.Column("definition", _TEXT, nullable=False),
        sa.Column("created_ms", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("name", "version", name=op.f("pk_environments")),
        sa.UniqueConstraint("name", "ordinal", name=op.f("uq_environments_name_ordinal")),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "run_processes",
        sa.Column("run_pk", _ID, nullable=False),
        sa.Column("machine", _TEXT, nullable=False),
        sa.Column("lock_name", _TEXT, nullable=False),
        sa.ForeignKeyConstraint(["run_pk"], ["runs.run_pk"], name=op.f("fk_run_processes_run_pk"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("run_pk", name=op.f("pk_run_processes")),
    )
    op.create_table(
        "run_leases",
        sa.Column("run_pk", _ID, nullable=False),
        sa.Column("target", _TEXT, nullable=False),
        sa.Column("key_id", _TEXT, nullable=False),
        sa.Column("holder", _TEXT),
        sa.Column("ends_ms", sa.BigInteger()),
        sa.Column("has_started", sa.Boolean(), nullable=False),
        sa.ForeignKeyConstraint(["run_pk"], ["runs.run_pk"], name=op.f("fk_run_leases_run_pk"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("run_pk", name=op.f("pk_run_leases")),
    )
    op.create_index("ix_run_leases_target_run_pk", "run_leases", ["target", "run_pk"])
