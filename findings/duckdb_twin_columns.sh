#!/usr/bin/env bash
# Expected: of two columns that differ in case alone, a quoted name means the one that is written so.
# Found: DuckDB renames the second one to name_1 as it reads the file, and a quoted name finds columns
# without regard to case: "host" of a Parquet file with Host and host gives the values of Host, and
# nothing is said. Telemetry has such twins: agents that were upgraded, or two pipelines in one file.
# For users of Tidegauge: names of columns match with their case in every format
# (docs/semantics.md); compare with DuckDB by position where a file has twins.
set -euo pipefail
work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check duckdb==2.0.0 pyarrow==26.0.1
cd "$work"
venv/bin/python - <<'P'
import sys
import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

pq.write_table(pa.table({"Host": ["upper"], "host": ["lower"]}), "twins.parquet")
with open("twins.json", "w") as file:
    file.write('{"Host": "upper", "host": "lower"}\n')
seen = {}
for file in ["twins.parquet", "twins.json"]:
    names = duckdb.sql(f"from '{file}'").columns
    lower = duckdb.sql(f"""select "host" from '{file}'""").fetchall()[0][0]
    seen[file] = (names, lower)
    print(f'{file}: columns {names}; select "host" gives {lower!r}')
print("duckdb", duckdb.__version__, "pyarrow", pa.__version__)
expected = {
    "twins.parquet": (["Host", "host_1"], "upper"),
    "twins.json": (["Host", "host_1"], "upper"),
}
sys.exit(0 if seen == expected else "the behaviour has changed")
P
# Seen on 2026-11-28:
# twins.parquet: columns ['Host', 'host_1']; select "host" gives 'upper'
# twins.json: columns ['Host', 'host_1']; select "host" gives 'upper'
# duckdb 2.0.0 pyarrow 26.0.1
