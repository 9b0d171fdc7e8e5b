"""Writes the same rows as Parquet in many encodings, a folder each, and prints DuckDB's answer.

usage: write_encodings.py FOLDER
"""

import datetime
import os
import sys

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

UTC = datetime.timezone.utc
START = datetime.datetime(2026, 3, 1, 10, 0, 0)
ROWS = [
    {
        "ts": START + datetime.timedelta(seconds=7 * n),
        "host": "abc"[n % 3] if n % 7 else None,
        "n": n % 100 if n % 5 else None,
        "answers": [{"rdata": f"192.0.2.{n % 9}", "ttl": n}, {"rdata": None, "ttl": None}],
    }
    for n in range(100)
]
# Times that nanoseconds do not hold: of another column than the event time.
UNTIL = [
    datetime.datetime(9999, 12, 31),
    datetime.datetime(1, 1, 1),
    datetime.datetime(2300, 1, 1, 1, 2, 3, 456789),
]
for at, row in enumerate(ROWS):
    row["until"] = UNTIL[at % 3]

ANSWER = pa.struct([("rdata", pa.string()), ("ttl", pa.int64())])
OTHER_ORDER = pa.struct([("ttl", pa.int32()), ("more", pa.bool_()), ("rdata", pa.large_string())])


def table(ts, host, n, answers, until=pa.timestamp("us"), value=lambda row: row):
    schema = [("ts", ts), ("host", host), ("n", n), ("answers", answers), ("until", until)]
    return pa.Table.from_pylist([value(dict(row)) for row in ROWS], schema=pa.schema(schema))


def with_time(convert):
    def value(row):
        row["ts"] = convert(row["ts"].replace(tzinfo=UTC))
        return row

    return value


def whole(row):
    row["n"] = None if row["n"] is None else float(row["n"])
    return row


def seconds(row):
    return int(row.timestamp())


def encodings():
    us, text, big = pa.timestamp("us"), pa.string(), pa.int64()
    yield "plain", table(us, text, big, pa.list_(ANSWER)), {}
    yield "large", table(pa.timestamp("ns", "UTC"), pa.large_string(), pa.uint32(), pa.large_list(OTHER_ORDER)), {}
    yield "fixed", table(pa.timestamp("ms", "+02:00"), pa.dictionary(pa.int8(), text), pa.int8(), pa.list_(OTHER_ORDER, 2)), {}
    yield "int96", table(us, text, pa.uint64(), pa.list_(ANSWER)), {"use_deprecated_int96_timestamps": True}
    yield "views", table(pa.timestamp("s"), pa.string_view(), pa.int16(), pa.list_(ANSWER)), {}
    yield "floats", table(big, pa.binary(), pa.float64(), pa.list_(ANSWER), value=lambda row: whole(with_time(seconds)(row))), {}
    yield "decimals", table(pa.float64(), text, pa.decimal128(30, 4), pa.list_(ANSWER), value=with_time(lambda t: t.timestamp())), {}
    yield "texts", table(text, text, pa.decimal256(60, 1), pa.list_(ANSWER), value=with_time(str)), {"compression": "zstd"}
    yield "second_version", table(us, text, big, pa.large_list(ANSWER)), {"data_page_version": "2.0", "use_dictionary": False, "column_encoding": {"ts": "DELTA_BINARY_PACKED", "n": "DELTA_BINARY_PACKED"}}


def main(folder):
    for name, rows, options in encodings():
        place = os.path.join(folder, name)
        os.makedirs(place)
        pq.write_table(rows, os.path.join(place, "a.parquet"), row_group_size=30, **options)
    plain = os.path.join(folder, "plain", "a.parquet")
    place = os.path.join(folder, "duckdb")
    os.makedirs(place)
    duckdb.sql("SET TimeZone = 'Europe/Berlin'")
    duckdb.sql(
        f"COPY (SELECT ts::TIMESTAMP AT TIME ZONE 'UTC' AS ts, host, n::UINTEGER AS n, answers, until"
        f" FROM read_parquet('{plain}')) TO '{place}/a.parquet' (FORMAT parquet)"
    )
    answer = duckdb.sql(
        f"""
        SELECT strftime(date_trunc('minute', ts), '%Y-%m-%dT%H:%M:%SZ'), host, count(*), sum(n)::BIGINT,
               max(answers[1].rdata), sum(answers[1].ttl)::BIGINT, epoch_us(max(until)), epoch_us(min(until))
        FROM read_parquet('{plain}') GROUP BY ALL
        """
    )
    for row in answer.fetchall():
        print(" | ".join("NULL" if value is None else str(value) for value in row))


main(sys.argv[1])
