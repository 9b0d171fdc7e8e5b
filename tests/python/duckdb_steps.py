"""Answers the steps of the property test's cases with DuckDB, a case a line.

A line of stdin is {"steps": [{"name", "columns": [[name, type]], "rows": [...], "sql"}]}. A step without
`sql` is a table that is given; of one with `sql`, the answer of DuckDB is made the table, and compared
with the rows that come with it, which the other reference gave. A line of stdout answers each:
{"compared": n} or {"differs": text}.
"""

import collections
import json
import re
import sys

import duckdb
import pyarrow

TYPES = {
    "time": pyarrow.timestamp("us"),
    "bigint": pyarrow.int64(),
    "double": pyarrow.float64(),
    "boolean": pyarrow.bool_(),
    "varchar": pyarrow.string(),
}
SHOWN = 5

# What DuckDB calls by another name, or means by it another thing that it can also say.
SPELLINGS = [
    (r"\bfirst_value\(", "first("),
    (r"\blast_value\(", "last("),
    # Exact where it is asked for few values.
    (r"\bapprox_distinct\(x\)", "count(DISTINCT x)"),
    # Without values, of nothing.
    (r"\bentropy\(d\)", "CASE WHEN count(d) > 0 THEN entropy(d) END"),
    # Of one value always 0, be it NaN or infinite (findings/duckdb_var_pop_of_one_nan.sh).
    (r"\bvar_pop\(f\)", "CASE WHEN count(f) = 1 THEN min(f) - min(f) ELSE var_pop(f) END"),
    # A list of NULLs is an empty text.
    (r"\barray_to_string\(", "as_text("),
]


def spelled(sql):
    for pattern, other in SPELLINGS:
        sql = re.sub(pattern, other, sql)
    return sql


def column(kind, values):
    if kind == "double":
        values = [None if value is None else float(value) for value in values]
    if kind == "time":
        return pyarrow.array(values, pyarrow.int64()).cast(TYPES[kind])
    return pyarrow.array(values, TYPES[kind])


def table(step):
    names = [name for name, _ in step["columns"]]
    columns = [
        column(kind, [row[at] for row in step["rows"]]) for at, (_, kind) in enumerate(step["columns"])
    ]
    return pyarrow.table(columns, names=names)


def comparable(kind, value):
    """What two engines that agree both give: floats to nine digits, and to twelve decimals."""
    if value is None:
        return None
    if kind == "double":
        # What is left of a sum that is nothing: DuckDB's entropy of one value is -4e-16.
        near = 0.0 if abs(value) < 1e-12 else float(value)
        return f"{near:.9g}"
    return int(value) if kind == "bigint" else value


def rows_of(arrow, kinds):
    columns = []
    for at, kind in enumerate(kinds):
        values = arrow.column(at)
        if kind == "time":
            values = values.cast(pyarrow.timestamp("us")).cast(pyarrow.int64())
        columns.append([comparable(kind, value) for value in values.to_pylist()])
    return collections.Counter(zip(*columns))


def answer(case):
    engine = duckdb.connect()
    # As PostgreSQL, and DataFusion after it: NULL is more than any value.
    engine.sql("SET default_null_order = 'nulls_last_on_asc_first_on_desc'")
    engine.sql("CREATE MACRO as_text(list, separator) AS coalesce(array_to_string(list, separator), '')")
    compared = 0
    for step in case["steps"]:
        name, given = step["name"], table(step)
        if "sql" not in step:
            engine.register("given", given)
            engine.sql(f"CREATE TABLE {name} AS SELECT * FROM given")
            engine.unregister("given")
            continue
        sql = spelled(step["sql"])
        try:
            engine.sql(f"CREATE TABLE {name} AS {sql}")
        except duckdb.Error as error:
            return {"differs": f"{name}: {sql}\nDuckDB: {error}"}
        kinds = [kind for _, kind in step["columns"]]
        found = engine.sql(f"SELECT * FROM {name}").to_arrow_table()
        if found.column_names != given.column_names:
            return {"differs": f"{name}: {sql}\nDuckDB: the columns {found.column_names}"}
        here, there = rows_of(found, kinds), rows_of(given, kinds)
        if here != there:
            lines = [f"{name}: {sql}", "columns: " + ", ".join(given.column_names)]
            for engine_name, only in (("DuckDB", here - there), ("DataFusion", there - here)):
                lines += [f"only {engine_name}: {row}" for row in list(only.elements())[:SHOWN]]
            return {"differs": "\n".join(lines)}
        compared += 1
    return {"compared": compared}


for line in sys.stdin:
    print(json.dumps(answer(json.loads(line))), flush=True)
