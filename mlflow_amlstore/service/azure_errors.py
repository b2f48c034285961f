"""An error in the form that Azure's services share, for answers that are one or have some in them."""

import msgspec


class ErrorDetail(msgspec.Struct, frozen=True):
    """Whose fault it is, or of which kind, and what it is."""

    code: str
    message: str


class ErrorResponse(msgspec.Struct, frozen=True):
    """The frame around it."""

    error: ErrorDetail
