"""Prints what pyarrow finds in a sink's folder: its schema, its rows, and its partitions.

    read_with_pyarrow.py SINK_FOLDER

Files and folders whose names begin with `_` or `.` are skipped, as every Hive reader does.
"""

import sys

import pyarrow.dataset as dataset
import pyarrow.parquet as parquet

found = dataset.dataset(sys.argv[1], format="parquet", partitioning="hive")
for field in found.schema:
    print(f"{field.name}: {field.type}")
for path in sorted(found.files):
    inside = parquet.read_schema(path)
    folder = path.removeprefix(sys.argv[1].rstrip("/") + "/").rsplit("/", 1)[0]
    print(f"{folder}: columns {', '.join(inside.names)}")
table = found.to_table()
rows = sorted(table.to_pylist(), key=str)
for row in rows:
    print(" | ".join(
        value.isoformat() if hasattr(value, "isoformat") else str(value) for value in row.values()
    ))
