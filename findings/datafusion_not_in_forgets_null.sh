#!/usr/bin/env bash
# Expected: x NOT IN (SELECT ...) gives no row where x is NULL and the subquery has rows. Found: DataFusion
# 55 gives it where x is an expression that makes NULL of columns that have none, and below OR.
# For users of Tidegauge: both are planned as <> ALL, which it knows three values of.
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
    engine("CREATE TABLE t AS SELECT * FROM (VALUES (1), (2), (3)) AS v(c)")
    engine("CREATE TABLE u AS SELECT * FROM (VALUES (NULL), (1)) AS v(c)")
# CASE gives NULL for 1 and 2, of which it is not known whether they are 3.
seen("SELECT c FROM t WHERE CASE WHEN c > 2 THEN c END NOT IN (SELECT c FROM t WHERE c < 3)", [(1,), (2,), (3,)], [(3,)])
seen("SELECT c FROM u WHERE c NOT IN (SELECT c FROM t WHERE c > 2) OR c = 7", [(1,), (None,)], [(1,)])

sys.exit(changed)
P
