"""A table of Parquet as a request, read within the limit of a body although it may be compressed."""

import io

from mlflow_amlstore.errors import BadRequest, ContentTypeNotSupported, InvalidValue, PayloadTooLarge
from mlflow_amlstore.scoring.payloads import Named, Request

_CODECS = {"UNCOMPRESSED", "SNAPPY"}  # a file of others can be a thousand times as large as it says
_INDEX = "__index_level_"  # pandas' index, which is no column
_ROWS_AT_ONCE = 65_536


def read(body: bytes, limit_bytes: int) -> Request:
    """The columns of a file. Raises BadRequest, InvalidValue, PayloadTooLarge, and a 415 where pyarrow is missing."""
    try:
        import pyarrow  # type: ignore[import-untyped]
        import pyarrow.parquet  # type: ignore[import-untyped]
    except ImportError:
        rule = "pyarrow isn't in this deployment's environment; add it there, or send application/json or text/csv"
        raise ContentTypeNotSupported("Content-Type", "application/vnd.apache.parquet", rule) from None
    try:
        file = pyarrow.parquet.ParquetFile(io.BytesIO(body))
        about = file.metadata
        size = 0
        for number in range(about.num_row_groups):
            group = about.row_group(number)
            for place in range(group.num_columns):
                column = group.column(place)
                size += max(column.total_uncompressed_size, 0)
                if column.compression not in _CODECS:
                    rule = f"must be {' or '.join(sorted(_CODECS))}, so that the size of what it holds is known"
                    raise InvalidValue(f"compression of {column.path_in_schema}", column.compression, rule)
        if size > limit_bytes:
            raise PayloadTooLarge(limit_bytes)
        tables, size = [], 0
        for some in file.iter_batches(batch_size=_ROWS_AT_ONCE):  # equal values take no room in a file
            size += some.nbytes
            if size > limit_bytes:
                raise PayloadTooLarge(limit_bytes)
            tables.append(some)
        columns = pyarrow.Table.from_batches(tables, file.schema_arrow).to_pydict()
    except (pyarrow.ArrowException, OSError, ValueError, UnicodeDecodeError) as error:
        raise BadRequest(f"The request's body could not be read as Parquet: {error}") from error
    values = {
        name: [value.isoformat() if hasattr(value, "isoformat") else value for value in column]
        for name, column in columns.items()
        if not name.startswith(_INDEX)
    }
    return Request("mlflow", "body", Named(values))
