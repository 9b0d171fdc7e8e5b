#!/usr/bin/env bash
# Expected: x RIGHT JOIN y ON x.a = y.a WHERE x.k IS NULL gives the rows of y without a partner. Found: where
# y has a column k too, and the two sides are swapped, DataFusion 55 finds the filter's column by its name
# (FilterPushdown of physical plans), filters y.k instead, and gives no row. Another name mends it.
# For users of Tidegauge: the rule is left out where a plan has a name twice.
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
    engine("CREATE TABLE x AS SELECT * FROM (VALUES (1, 1), (2, 2), (3, 3), (4, 4), (5, 5), (6, 6)) AS v(a, k)")
    engine("CREATE TABLE y AS SELECT * FROM (VALUES (5, 9), (7, 9)) AS v(a, k)")
# The rows of y that have no partner, as everybody asks for them. The filter of x.k becomes one of y.k.
Y = "(SELECT * FROM y WHERE a > 5) AS y"
seen(f"SELECT y.k FROM x RIGHT JOIN {Y} ON x.a = y.a WHERE x.k IS NULL", [], [(9,)])
# With another name for the column it is right.
X = "(SELECT a, k AS j FROM x) AS x"
seen(f"SELECT y.k FROM {X} RIGHT JOIN {Y} ON x.a = y.a WHERE x.j IS NULL", [(9,)], [(9,)])

sys.exit(changed)
P
