#!/usr/bin/env bash
# Expected: var_pop and stddev_pop of one NaN, or of one infinity, are NaN, as of two of them, and as
# PostgreSQL says. Found: of a single value DuckDB gives 0 without looking at it.
# For users of Tidegauge: its var_pop gives NaN; a comparison with DuckDB has to leave such groups out
# (tests/python/duckdb_steps.py does).
set -euo pipefail
work=$(mktemp -d); trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check "duckdb==2.0.0"
"$work/venv/bin/python" - <<'P'
import math, sys, duckdb
print("duckdb", duckdb.__version__)
ok = True
for value in ["nan", "inf"]:
    for count in [1, 2]:
        rows = ", ".join([f"('{value}'::DOUBLE)"] * count)
        found = duckdb.sql(f"SELECT var_pop(x), stddev_pop(x) FROM (VALUES {rows}) t(x)").fetchall()[0]
        print(f"{count} x {value}: var_pop, stddev_pop = {found}")
        ok &= found == (0.0, 0.0) if count == 1 else all(math.isnan(each) for each in found)
sys.exit(0 if ok else 1)
P
