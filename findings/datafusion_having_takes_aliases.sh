#!/usr/bin/env bash
# Expected: in HAVING max(k), k is the column of FROM, whatever SELECT calls k. Found: over a query in
# brackets without a name DataFusion 55 takes it for what SELECT calls so; over a table it does not.
# For users of Tidegauge: such a query is given a name before it is planned.
set -euo pipefail
FOLDER=$(mktemp -d)
trap 'rm -rf "$FOLDER"' EXIT
"${PYTHON:-python3}" -m venv "$FOLDER/venv"
"$FOLDER/venv/bin/pip" -q install --disable-pip-version-check datafusion==55.0.0 duckdb==2.0.0
"$FOLDER/venv/bin/python" - <<'P'
import duckdb, sys
from datafusion import SessionContext

context, other = SessionContext(), duckdb.connect()
print(context.sql("SELECT version()").to_pydict()["version()"][0], "and DuckDB", duckdb.__version__)


def rows(sql):
    columns = context.sql(sql).to_pydict().values()
    return sorted(zip(*columns), key=str), sorted(other.sql(sql).fetchall(), key=str)


changed = False


def seen(sql, datafusion, duckdb):
    global changed
    found = rows(sql)
    print(sql, "\n  DataFusion:", found[0], "\n  DuckDB:    ", found[1])
    changed |= found != (datafusion, duckdb)



for engine in (lambda sql: context.sql(sql).collect(), other.sql):
    engine("CREATE TABLE t AS SELECT * FROM (VALUES (1), (2), (3), (4)) AS v(k)")
ASKED = "SELECT k % 2 AS k, count(*) AS n FROM {} GROUP BY k % 2 HAVING max(k) >= 3"
seen(ASKED.format("t"), [(0, 2), (1, 2)], [(0, 2), (1, 2)])
seen(ASKED.format("(SELECT k + 0 AS k FROM t)"), [], [(0, 2), (1, 2)])

sys.exit(changed)
P
