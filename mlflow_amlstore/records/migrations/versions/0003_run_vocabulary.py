"""What the `Run` vocabulary needs: the place of a series' last value, and properties of model versions.

Revision ID: 0003
"""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

_TEXT = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")  # compared by its bytes


def upgrade() -> None:
    op.add_column("series", sa.Column("last_seq", sa.BigInteger(), server_default="0", nullable=False))
    series = sa.table("series", sa.column("series_id"), sa.column("kind"), sa.column("last_seq"))
    points = sa.table("points", sa.column("series_id"), sa.column("seq"))
    highest = sa.select(sa.func.max(points.c.seq)).where(points.c.series_id == series.c.series_id).scalar_subquery()
    op.execute(
        series.update().where(series.c.kind != "scalar").values(last_seq=sa.func.coalesce(highest, sa.literal(0)))
    )
    op.create_table(
        "model_version_properties",
        sa.Column("registered_pk", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("name", _TEXT, nullable=False),
        sa.Column("value", _TEXT, nullable=False),
        sa.ForeignKeyConstraint(
            ["registered_pk", "version"],
            ["model_versions.registered_pk", "model_versions.version"],
            name=op.f("fk_model_version_properties_registered_pk"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("registered_pk", "version", "name", name=op.f("pk_model_version_properties")),
        sqlite_with_rowid=False,
    )
