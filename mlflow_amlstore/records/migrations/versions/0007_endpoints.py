"""Endpoints: models that answer over HTTP, their deployments, and what happened to them.

Revision ID: 0007
"""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

_TEXT = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")  # compared by its bytes
_ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    op.create_table(
        "endpoints",
        sa.Column("endpoint_pk", _ID, nullable=False),
        sa.Column("name", _TEXT, nullable=False),
        sa.Column("target", _TEXT, nullable=False),
        sa.Column("spec", _TEXT, nullable=False),
        sa.Column("sealed_keys", sa.LargeBinary(), nullable=False),
        sa.Column("wanted", _TEXT, nullable=False),
        sa.Column("serving", _TEXT, nullable=False),
        sa.Column("holder", _TEXT),
        sa.Column("address", _TEXT),
        sa.Column("ends_ms", sa.BigInteger()),
        sa.Column("created_ms", sa.BigInteger(), nullable=False),
        sa.Column("updated_ms", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("endpoint_pk", name=op.f("pk_endpoints")),
        sa.UniqueConstraint("name", name=op.f("uq_endpoints_name")),
    )
    op.create_table(
        "deployments",
        sa.Column("endpoint_pk", _ID, nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("spec", _TEXT, nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("error", _TEXT),
        sa.Column("versions", _TEXT, nullable=False),
        sa.Column("created_ms", sa.BigInteger(), nullable=False),
        sa.Column("updated_ms", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["endpoint_pk"],
            ["endpoints.endpoint_pk"],
            name=op.f("fk_deployments_endpoint_pk"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("endpoint_pk", "number", name=op.f("pk_deployments")),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "endpoint_events",
        sa.Column("event_id", _ID, nullable=False),
        sa.Column("endpoint_pk", _ID, nullable=False),
        sa.Column("at_ms", sa.BigInteger(), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("text", _TEXT, nullable=False),
        sa.ForeignKeyConstraint(
            ["endpoint_pk"],
            ["endpoints.endpoint_pk"],
            name=op.f("fk_endpoint_events_endpoint_pk"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("event_id", name=op.f("pk_endpoint_events")),
    )
    op.create_index("ix_endpoint_events_endpoint_pk_event_id", "endpoint_events", ["endpoint_pk", "event_id"])
