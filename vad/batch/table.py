"""The table's columns, and how rows become bytes of Parquet or JSON lines."""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from vad.batch.work import Row

_SEGMENT = pa.struct(
    [
        ("channel", pa.int32()),
        ("start", pa.float64()),
        ("end", pa.float64()),
        ("label", pa.string()),
        ("confidence", pa.float64()),
    ]
)

# One row a file. Times are seconds; `speech` is the sum over its channels; `seconds` is how long
# `worker`, a host and a process, had it.
SCHEMA = pa.schema(
    [
        pa.field("uri", pa.string(), nullable=False),
        ("size", pa.int64()),
        ("etag", pa.string()),
        pa.field("status", pa.string(), nullable=False),
        ("duration", pa.float64()),
        ("speech", pa.float64()),
        ("segments", pa.list_(_SEGMENT)),
        ("warnings", pa.list_(pa.string())),
        ("error_type", pa.string()),
        ("error", pa.string()),
        ("model", pa.string()),
        ("sha256", pa.string()),
        ("params", pa.string()),
        ("worker", pa.string()),
        ("seconds", pa.float64()),
    ]
)

KEY_COLUMNS = ["uri", "size", "etag", "status", "sha256", "params"]


def as_table(rows: Sequence[Row]) -> pa.Table:
    """Rows as a table of `SCHEMA`."""
    return pa.Table.from_pylist(list(rows), schema=SCHEMA)


def as_parquet(table: pa.Table) -> bytes:
    """A table as the bytes of a Parquet file."""
    sink = io.BytesIO()
    pq.write_table(table, sink, compression="zstd")
    return sink.getvalue()


def as_json_lines(table: pa.Table) -> bytes:
    """A table as JSON lines, one a row."""
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in table.to_pylist()).encode()


def read_keys(file: Any) -> list[Row]:
    """Of a Parquet file of ours, what tells whether a row is done.

    Raises:
        ValueError: it has other columns, or isn't Parquet.
    """
    try:
        with pq.ParquetFile(file) as parquet:
            missing = set(KEY_COLUMNS) - set(parquet.schema_arrow.names)
            if missing:
                raise ValueError(f"has no columns {', '.join(sorted(missing))}")
            return list(parquet.read(columns=KEY_COLUMNS).to_pylist())
    except pa.ArrowException as error:
        raise ValueError(str(error)) from error
