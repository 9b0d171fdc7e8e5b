#!/usr/bin/env bash
# Expected: a Parquet INTERVAL column, which holds months, days and milliseconds, is read as written
# or refused. Found: DataFusion reads it as days and milliseconds alone. The months are gone without an
# error, so that '14 months' is no time at all. DuckDB reads its own file right.
# For users of Tidegauge: docs/semantics.md has no INTERVAL type for sources; state spans in a
# number with its unit.
set -euo pipefail
work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check duckdb==2.0.0 datafusion==55.0.0 pyarrow==26.0.1
cd "$work"
venv/bin/python - <<'P'
import datetime
import sys
import datafusion
import duckdb
import pyarrow.parquet as pq

duckdb.sql("""copy (select interval '14 months' as contract, interval '1 month 2 days 3 seconds' as lease)
              to 'spans.parquet' (format parquet)""")
stored = pq.ParquetFile("spans.parquet").schema
session = datafusion.SessionContext()
session.register_parquet("spans", "spans.parquet")
read = session.sql("""select cast(contract as varchar) as contract, cast(lease as varchar) as lease,
                             timestamp '2026-01-01' + contract as until from spans""").to_pydict()
print("duckdb", duckdb.__version__, "writes", [stored.column(i).converted_type for i in range(2)])
print("duckdb reads      ", duckdb.sql("from 'spans.parquet'").fetchall()[0])
print("datafusion", datafusion.__version__, "reads", read)
same = (
    stored.column(0).converted_type == "INTERVAL"
    and read["contract"] == ["0 secs"]
    and read["lease"] == ["2 days 3.000 secs"]
    and read["until"][0] == datetime.datetime(2026, 1, 1)
)
sys.exit(0 if same else "the behaviour has changed")
P
# Seen on 2026-11-28:
# duckdb 2.0.0 writes ['INTERVAL', 'INTERVAL']
# duckdb reads       (datetime.timedelta(days=420), datetime.timedelta(days=32, seconds=3))
# datafusion 55.0.0 reads {'contract': ['0 secs'], 'lease': ['2 days 3.000 secs'], 'until': [datetime.datetime(2026, 1, 1, 0, 0)]}
