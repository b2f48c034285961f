"""Azure's form of an error. Some answers are one, others contain one for each run or path that was refused."""

import msgspec


class ErrorDetail(msgspec.Struct, frozen=True):
    """`code` says whose fault the error is, or of which kind; `message` says what is wrong."""

    code: str
    message: str


class ErrorResponse(msgspec.Struct, frozen=True):
    """Azure's frame around an error."""

    error: ErrorDetail


class RootError(ErrorDetail, frozen=True):
    """An error of run history. `details` are those behind it: without a list Azure ML's SDK can't print the error."""

    details: list[ErrorDetail] = []
