#!/usr/bin/env bash
# Expected: whether a row is NaN is the same question of a Parquet file, whoever wrote it. Found: DuckDB
# takes NaN for the greatest number, and leaves out row groups whose written maximum is below what is
# asked for; most writers leave NaN out of that maximum. So isnan(x) finds no NaN in files of pyarrow
# and Polars that hold one, and finds it in DuckDB's own, which has no maximum there. DataFusion does
# the same with x > 5.
# For users of Tidegauge: its files have no minimum and maximum where a column chunk has NaN, and
# foreign files are not left out by bounds of floating columns (docs/semantics.md).
set -euo pipefail
work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check \
    duckdb==2.0.0 datafusion==55.0.0 pyarrow==26.0.1 polars==2.1.0
cd "$work"
venv/bin/python - <<'P'
import sys
import datafusion
import duckdb
import polars
import pyarrow as pa
import pyarrow.parquet as pq

values = [1.0, 2.0, float("nan")]
pq.write_table(pa.table({"x": values}), "pyarrow.parquet")
polars.DataFrame({"x": values}).write_parquet("polars.parquet")
duckdb.sql("copy (select unnest([1.0::double, 2.0, 'nan'::double]) as x) to 'duckdb.parquet' (format parquet)")
seen = {}
for writer in ["pyarrow", "polars", "duckdb"]:
    file = f"{writer}.parquet"
    statistics = pq.ParquetFile(file).metadata.row_group(0).column(0).statistics
    maximum = statistics.max if statistics is not None and statistics.has_min_max else None
    nans = duckdb.sql(f"select count(*) from '{file}' where isnan(x)").fetchall()[0][0]
    session = datafusion.SessionContext()
    session.register_parquet("t", file)
    above = session.sql("select count(*) as n from t where x > 5").to_pydict()["n"][0]
    seen[writer] = (maximum, nans, above)
    print(f"file of {writer}: maximum {maximum}; duckdb isnan(x): {nans} rows; datafusion x > 5: {above} rows")
print("duckdb", duckdb.__version__, "pyarrow", pa.__version__, "polars", polars.__version__,
      "datafusion", datafusion.__version__)
expected = {"pyarrow": (2.0, 0, 0), "polars": (2.0, 0, 0), "duckdb": (None, 1, 1)}
sys.exit(0 if seen == expected else "the behaviour has changed")
P
# Seen on 2026-11-28:
# file of pyarrow: maximum 2.0; duckdb isnan(x): 0 rows; datafusion x > 5: 0 rows
# file of polars: maximum 2.0; duckdb isnan(x): 0 rows; datafusion x > 5: 0 rows
# file of duckdb: maximum None; duckdb isnan(x): 1 rows; datafusion x > 5: 1 rows
# duckdb 2.0.0 pyarrow 26.0.1 polars 2.1.0 datafusion 55.0.0
