#!/usr/bin/env bash
# Expected: SELECT x + x AS x FROM (SELECT x + x AS x FROM t) adds twice, 24 for 6, as DuckDB does. Found:
# DataFusion 55 takes two nested projections that read alike for one (optimize_projections), 12 for 6,
# without a word. With a name for the inner query, or a view, it is right.
# For users of Tidegauge: jobs and queries of the service are planned with such names.
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



T = "(SELECT n AS x FROM (VALUES (1), (6)) AS t(n))"
seen(f"SELECT x + x AS x FROM (SELECT x + x AS x FROM {T})", [(12,), (2,)], [(24,), (4,)])
# With a name for the inner query it is right.
seen(f"SELECT x + x AS x FROM (SELECT x + x AS x FROM {T}) AS d", [(24,), (4,)], [(24,), (4,)])
# Swapped twice, a and b are what they were.
T = "(SELECT n AS a, n * 10 AS b FROM (VALUES (1)) AS t(n))"
seen(f"SELECT a AS b, b AS a FROM (SELECT a AS b, b AS a FROM {T})", [(1, 10)], [(10, 1)])

sys.exit(changed)
P
