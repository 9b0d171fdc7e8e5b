#!/bin/bash
# object_store's paths are not S3's keys: one key with `//` makes the listing of its whole prefix fail,
# and of a key that begins or ends with `/` the slash is gone, so that the listed path cannot be read.
# For users of Tidegauge: sources list buckets by keys as they stand (src/source/s3_files.rs).
set -euo pipefail
work=$(mktemp -d); trap 'kill "${server:-}" 2>/dev/null || true; rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check "obstore==0.12.1" "moto[server,s3]==5.1.4" "boto3==1.38.0"
port=$("$work/venv/bin/python" -c "import socket; s=socket.socket(); s.bind(('127.0.0.1',0)); print(s.getsockname()[1])")
"$work/venv/bin/python" -m moto.server -H 127.0.0.1 -p "$port" >/dev/null 2>&1 & server=$!
export AWS_ACCESS_KEY_ID=test AWS_SECRET_ACCESS_KEY=test AWS_REGION=us-east-1 AWS_DEFAULT_REGION=us-east-1 NO_PROXY=127.0.0.1
for _ in $(seq 60); do curl -sf --noproxy '*' "http://127.0.0.1:$port/moto-api/" >/dev/null && break; sleep 0.5; done
"$work/venv/bin/python" - "http://127.0.0.1:$port" <<'P'
import sys, boto3, obstore
from obstore.store import S3Store
endpoint = sys.argv[1]
print("obstore", obstore.__version__)
s3 = boto3.client("s3", endpoint_url=endpoint)
s3.create_bucket(Bucket="keys")
store = S3Store("keys", endpoint=endpoint, client_options={"allow_http": True}, virtual_hosted_style_request=False)
for key in ["edge/a.json", "edge/b/", "/c.json"]:
    s3.put_object(Bucket="keys", Key=key, Body=b"{}")
listed = sorted(meta["path"] for meta in store.list().collect())
print("keys:  ", sorted(o["Key"] for o in s3.list_objects_v2(Bucket="keys")["Contents"]))
print("listed:", listed)
ok = listed == ["c.json", "edge/a.json", "edge/b"]
for path in ["c.json", "edge/b"]:
    try:
        store.get(path)
        ok = False
    except FileNotFoundError:
        print("get", path, "-> not found")
s3.put_object(Bucket="keys", Key="edge//d.json", Body=b"{}")
try:
    print("with //:", store.list("edge").collect())
    ok = False
except Exception as error:
    print("with //:", type(error).__name__, str(error).splitlines()[0])
sys.exit(0 if ok else 1)
P
# Seen on 2026-11-28:
# obstore 0.12.1
# keys:   ['/c.json', 'edge/a.json', 'edge/b/']
# listed: ['c.json', 'edge/a.json', 'edge/b']
# get c.json -> not found
# get edge/b -> not found
# with //: InvalidPathError Encountered object with invalid path: Path "edge//d.json" contained empty path segment
