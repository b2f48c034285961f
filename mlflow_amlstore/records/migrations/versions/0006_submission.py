"""How a run was submitted, and the targets that runs are submitted to.

Revision ID: 0006
"""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

_TEXT = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")  # compared by its bytes


def upgrade() -> None:
    op.create_table(
        "run_definitions",
        sa.Column("run_pk", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
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
