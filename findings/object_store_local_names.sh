#!/bin/bash
# object_store's local store hides a file whose name ends in `#` and digits, for it stages its uploads
# under such names, and one name with a line break makes the listing of its whole folder fail.
# For users of Tidegauge: sources walk local folders themselves (src/source/discover/walk.rs).
set -euo pipefail
work=$(mktemp -d); trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check "obstore==0.12.1"
mkdir "$work/in"
"$work/venv/bin/python" - "$work/in" <<'P'
import pathlib, sys, obstore
from obstore.store import LocalStore
folder = pathlib.Path(sys.argv[1])
print("obstore", obstore.__version__)
for name in ["a.json", "b.json#1", "c.json#x"]:
    (folder / name).write_text("{}")
listed = sorted(meta["path"] for meta in LocalStore(folder).list().collect())
print("on disk:", sorted(path.name for path in folder.iterdir()))
print("listed: ", listed)
ok = listed == ["a.json", "c.json#x"]
(folder / "d\ne.json").write_text("{}")
try:
    print("with a line break in a name:", LocalStore(folder).list().collect())
    ok = False
except Exception as error:
    print("with a line break in a name:", type(error).__name__, str(error).splitlines()[0])
sys.exit(0 if ok else 1)
P
# Seen on 2026-11-28:
# obstore 0.12.1
# on disk: ['a.json', 'b.json#1', 'c.json#x']
# listed:  ['a.json', 'c.json#x']
# with a line break in a name: InvalidPathError Encountered object with invalid path: Error parsing Path "/d
