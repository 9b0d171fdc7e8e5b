#!/bin/bash
# object_store's local store lists no file whose name ends in `#` and digits, without a word, and
# refuses to read one by name. It keeps such names for files that it is writing (`name#1`, renamed when
# whole), and leaves them there when the process is killed. So a listing shows neither a user's
# `part#1` nor what a killed writer left behind, however much that is.
#
# Prints the version, what is listed, and what a read says; exits 1 when that has changed.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet obstore==0.12.1 # object_store 0.13 behind Python
"$work/venv/bin/python" - "$work" <<'PY'
import os, sys, obstore
from obstore.store import LocalStore

folder = os.path.join(sys.argv[1], "data")
os.mkdir(folder)
for name in ["a.json", "part#1", "b.json#20", "c#x", "d#"]:
    with open(os.path.join(folder, name), "w") as file:
        file.write("{}")
store = LocalStore(folder)
listed = sorted(entry["path"] for page in store.list() for entry in page)
try:
    obstore.get(store, "part#1")
    said = "read"
except Exception as error:
    said = str(error).splitlines()[0]
print("obstore", obstore.__version__)
print("there: ", sorted(os.listdir(folder)))
print("listed:", listed)
print("reading part#1:", said)
same = listed == ["a.json", "c#x", "d#"] and "not supported" in said
sys.exit(0 if same else 1)
PY
# Seen on 2026-11-28:
# obstore 0.12.1
# there:  ['a.json', 'b.json#20', 'c#x', 'd#', 'part#1']
# listed: ['a.json', 'c#x', 'd#']
# reading part#1: Generic LocalFileSystem error: Filenames containing trailing '/#\d+/' are not supported: part#1
