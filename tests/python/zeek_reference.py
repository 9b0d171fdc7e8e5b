"""Compares a sink's Parquet folder with DuckDB's own answer over the same Zeek logs.

    zeek_reference.py conn|dns INPUT_GLOB SINK_FOLDER

The windows are made here, by listing their starts and joining each row with those that hold it,
so that nothing of the job's SQL is trusted. Every row counts, as often as it is there. Exit code:
0 equal, 1 different (with the rows that differ), 2 wrong use.
"""

import sys

import duckdb

SHOWN_MAX = 10

# Seconds since 1970 as doubles: exact at the borders of minutes.
CONN = """
CREATE TABLE rows AS
SELECT ts AS at_s, *
FROM read_json($input, format = 'newline_delimited', columns = {
    ts: 'DOUBLE', id_orig_h: 'VARCHAR', id_resp_h: 'VARCHAR', id_resp_p: 'INTEGER',
    orig_bytes: 'BIGINT', resp_bytes: 'BIGINT'});
CREATE TABLE windows AS
SELECT start_s, start_s + 300 AS end_s
FROM (SELECT unnest(generate_series(
          (floor(min(at_s) / 60)::BIGINT - 5) * 60, max(at_s)::BIGINT + 60, 60)) AS start_s
      FROM rows);
CREATE TABLE expected AS
SELECT make_timestamp(start_s * 1000000)  AS window_start,
       make_timestamp(end_s * 1000000)    AS window_end,
       id_orig_h                          AS host,
       count(*)                           AS connections,
       sum(coalesce(orig_bytes, 0) + coalesce(resp_bytes, 0))::BIGINT AS bytes,
       count(DISTINCT id_resp_h)          AS peers,
       count(DISTINCT id_resp_p)          AS ports
FROM rows JOIN windows ON at_s >= start_s AND at_s < end_s
GROUP BY ALL;
"""

DNS = """
CREATE TABLE rows AS
SELECT epoch_us(ts::TIMESTAMPTZ) / 1e6 AS at_s, "id.orig_h" AS client, query, rcode_name
FROM read_json($input, format = 'newline_delimited', columns = {
    ts: 'VARCHAR', 'id.orig_h': 'VARCHAR', query: 'VARCHAR', rcode_name: 'VARCHAR'});
CREATE TABLE windows AS
SELECT start_s, start_s + 60 AS end_s
FROM (SELECT unnest(generate_series(
          floor(min(at_s) / 60)::BIGINT * 60, max(at_s)::BIGINT + 60, 60)) AS start_s
      FROM rows);
CREATE TABLE expected AS
SELECT make_timestamp(start_s * 1000000)  AS minute,
       client,
       count(*)                           AS queries,
       count(DISTINCT query)              AS names,
       sum(CASE WHEN rcode_name = 'NXDOMAIN' THEN 1 ELSE 0 END)::DOUBLE / count(*)
                                          AS nxdomain_share
FROM rows JOIN windows ON at_s >= start_s AND at_s < end_s
GROUP BY start_s, client;
"""


def main() -> int:
    if len(sys.argv) != 4 or sys.argv[1] not in ("conn", "dns"):
        print(__doc__, file=sys.stderr)
        return 2
    kind, source, sink = sys.argv[1:]
    database = duckdb.connect()
    database.execute("SET TimeZone = 'UTC'")
    script = {"conn": CONN, "dns": DNS}[kind]
    database.execute(script.replace("$input", quoted(source)))
    columns = [row[0] for row in database.execute("DESCRIBE expected").fetchall()]
    database.execute(f"CREATE TABLE actual AS SELECT {utc_columns(database, columns, sink)}")
    return compare(database)


def utc_columns(database, columns, sink) -> str:
    """The sink's columns under the expected names; instants as UTC without their zone."""
    files = f"read_parquet({quoted(sink.rstrip('/') + '/**/*.parquet')})"
    types = {row[0]: row[1] for row in database.execute(f"DESCRIBE FROM {files}").fetchall()}
    if sorted(types) != sorted(columns):
        sys.exit(f"the sink has the columns {sorted(types)}, the reference {sorted(columns)}")
    exprs = [
        f'"{name}"::TIMESTAMP AS "{name}"'
        if types[name] == "TIMESTAMP WITH TIME ZONE"
        else f'"{name}"'
        for name in columns
    ]
    return f"{', '.join(exprs)} FROM {files}"


def compare(database) -> int:
    counts = [database.execute(f"SELECT count(*) FROM {table}").fetchone()[0]
              for table in ("expected", "actual")]
    is_different = False
    for sign, left, right in (("-", "expected", "actual"), ("+", "actual", "expected")):
        rows = database.execute(f"FROM {left} EXCEPT ALL FROM {right} ORDER BY ALL").fetchall()
        if rows:
            is_different = True
            print(f"{len(rows)} rows only in {left}:")
            for row in rows[:SHOWN_MAX]:
                print(f"  {sign} " + " | ".join(str(value) for value in row))
    if counts[0] == 0:
        is_different = True
        print("the reference has no rows, which compares nothing")
    if not is_different:
        print(f"{counts[1]} rows, all equal")
    return 1 if is_different else 0


def quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


if __name__ == "__main__":
    sys.exit(main())
