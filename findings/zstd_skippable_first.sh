#!/usr/bin/env bash
# Expected: a zstd file may begin with a skippable frame (RFC 8878, section 3.1.2), and pzstd, the
# parallel compressor that comes with zstd, writes such files always; readers take them. Found: Polars
# knows zstd by the first four bytes of a data frame alone, takes the file for text, and gives no row and
# no error. DataFusion, told that the file is zstd, infers no schema from it and reads it right once
# the schema is given. DuckDB and pyarrow read it.
# For users of Tidegauge: sources know skippable frames (src/source/compression.rs); recompress with zstd
# what Polars has to read.
set -euo pipefail
work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check \
    datafusion==55.0.0 duckdb==2.0.0 polars==2.1.0 pyarrow==26.0.1 zstandard==0.25.0
cd "$work"
venv/bin/python - <<'P'
import struct
import sys
import datafusion
import duckdb
import polars
import pyarrow as pa
import pyarrow.csv
import zstandard

text = b"x\n" + b"".join(b"%d\n" % i for i in range(1, 101))
frame = zstandard.ZstdCompressor().compress(text)
# As pzstd does: a skippable frame that holds the size of the data frame behind it.
with open("a.csv.zst", "wb") as file:
    file.write(struct.pack("<III", 0x184D2A50, 4, len(frame)) + frame)


def datafusion_rows(schema):
    session = datafusion.SessionContext()
    session.sql(f"""create external table t {schema} stored as csv location 'a.csv.zst'
                    options ('format.compression' 'zstd', 'format.has_header' 'true')""")
    try:
        return session.sql("select count(x) as n from t").to_pydict()["n"][0]
    except Exception as error:
        return str(error)


seen = {
    "duckdb": duckdb.sql("select count(x) from 'a.csv.zst'").fetchall()[0][0],
    "pyarrow": pa.csv.read_csv("a.csv.zst").num_rows,
    "polars": polars.read_csv("a.csv.zst").height,
    "datafusion": datafusion_rows(""),
    "datafusion with a schema": datafusion_rows("(x bigint)"),
}
for name, value in seen.items():
    print(f"{name}: {value}")
print("datafusion", datafusion.__version__, "duckdb", duckdb.__version__, "polars", polars.__version__,
      "pyarrow", pa.__version__, "zstandard", zstandard.__version__)
expected = {"duckdb": 100, "pyarrow": 100, "polars": 0, "datafusion with a schema": 100}
same = all(seen[name] == value for name, value in expected.items()) and "No field named x" in str(seen["datafusion"])
sys.exit(0 if same else "the behaviour has changed")
P
# Seen on 2026-11-28:
# duckdb: 100
# pyarrow: 100
# polars: 0
# datafusion: Schema error: No field named x.
# datafusion with a schema: 100
# datafusion 55.0.0 duckdb 2.0.0 polars 2.1.0 pyarrow 26.0.1 zstandard 0.25.0
