#!/usr/bin/env bash
# Expected: in a table that is partitioned by folders, k=__HIVE_DEFAULT_PARTITION__ is NULL, as Hive,
# Spark, DuckDB, Polars and pyarrow read it. Found: DataFusion reads the word itself as a value, so that
# IS NULL finds no row and a GROUP BY has a key of that name. Percent-encoded values it does decode.
# For users of Tidegauge: its sinks write rows whose partition column is NULL there; in DataFusion
# write nullif(k, '__HIVE_DEFAULT_PARTITION__'). Its own sources read such a folder as NULL.
set -euo pipefail
work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check \
    datafusion==55.0.0 duckdb==2.0.0 polars==2.1.0 pyarrow==26.0.1
cd "$work"
venv/bin/python - <<'P'
import os
import sys
import datafusion
import duckdb
import polars
import pyarrow as pa
import pyarrow.dataset
import pyarrow.parquet as pq

for folder in ["tenant=a%2Fb", "tenant=__HIVE_DEFAULT_PARTITION__"]:
    os.makedirs(f"sink/{folder}")
    pq.write_table(pa.table({"n": [1]}), f"sink/{folder}/part.parquet")
session = datafusion.SessionContext()
session.sql("create external table sink stored as parquet partitioned by (tenant) location 'sink/'")
ask = lambda sql: session.sql(sql).to_pydict()
seen = {
    "datafusion": sorted(ask("select cast(tenant as varchar) as t from sink")["t"]),
    "datafusion IS NULL": ask("select count(*) as n from sink where tenant is null")["n"],
    "duckdb": [row[0] for row in duckdb.sql(
        "select tenant from read_parquet('sink/*/*.parquet', hive_partitioning = true) order by 1 nulls first").fetchall()],
    "polars": polars.scan_parquet("sink/", hive_partitioning=True).collect()["tenant"].sort().to_list(),
    "pyarrow": sorted(pa.dataset.dataset("sink", partitioning="hive").to_table()["tenant"].to_pylist(), key=str),
}
for name, value in seen.items():
    print(f"{name}: {value}")
print("datafusion", datafusion.__version__, "duckdb", duckdb.__version__, "polars", polars.__version__,
      "pyarrow", pa.__version__)
expected = {
    "datafusion": ["__HIVE_DEFAULT_PARTITION__", "a/b"],
    "datafusion IS NULL": [0],
    "duckdb": [None, "a/b"],
    "polars": [None, "a/b"],
    "pyarrow": [None, "a/b"],
}
sys.exit(0 if seen == expected else "the behaviour has changed")
P
# Seen on 2026-11-28:
# datafusion: ['__HIVE_DEFAULT_PARTITION__', 'a/b']
# datafusion IS NULL: [0]
# duckdb: [None, 'a/b']
# polars: [None, 'a/b']
# pyarrow: [None, 'a/b']
# datafusion 55.0.0 duckdb 2.0.0 polars 2.1.0 pyarrow 26.0.1
