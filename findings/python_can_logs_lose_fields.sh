#!/usr/bin/env bash
# Expected: a CAN log that python-can writes gives back what was written, or refuses what it cannot hold.
# Found: its formats lose fields without a word. CSV and SQLite have no channel, so that two buses of one
# car become one, and no CAN FD flag, so that a frame of 12 bytes comes back as a classic one, which cannot
# be. The candump format loses the length of remote frames and the identifier of error frames. BLF keeps all.
# For users of Tidegauge: log CAN traffic as BLF or candump, one file a bus where it is CSV, and put the
# bus into the key of detections that count identifiers.
set -euo pipefail
work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check python-can==4.6.1
cd "$work"
venv/bin/python - <<'P'
import sys
import can

sent = [
    can.Message(timestamp=1769000000.25, arbitration_id=0x123, is_extended_id=False, data=b"\x01", channel=1),
    can.Message(timestamp=1769000000.5, arbitration_id=0x321, is_extended_id=False, is_remote_frame=True, dlc=4, channel=0),
    can.Message(timestamp=1769000000.75, arbitration_id=0x22, is_extended_id=False, is_fd=True, data=bytes(12), channel=0),
    can.Message(timestamp=1769000001.0, arbitration_id=0x44, is_extended_id=False, is_error_frame=True, channel=0),
]
fields = ["timestamp", "arbitration_id", "is_extended_id", "is_remote_frame", "is_error_frame", "is_fd", "dlc", "data"]
bus = lambda channel: None if channel is None else int(str(channel).removeprefix("can"))
seen = {}
for ending in ["blf", "log", "csv", "db"]:
    with can.Logger(f"bus.{ending}") as log:
        for message in sent:
            log(message)
    lost = set()
    for before, after in zip(sent, can.LogReader(f"bus.{ending}"), strict=True):
        lost |= {name for name in fields if getattr(before, name) != getattr(after, name)}
        lost |= {"channel"} if bus(before.channel) != bus(after.channel) else set()
    seen[ending] = sorted(lost)
    print(f".{ending} loses: {', '.join(seen[ending]) or 'nothing'}")
print("python-can", can.__version__)
expected = {
    "blf": [],
    "log": ["arbitration_id", "channel", "dlc", "is_extended_id"],
    "csv": ["channel", "is_fd"],
    "db": ["channel", "is_fd"],
}
sys.exit(0 if seen == expected else "the behaviour has changed")
P
# Seen on 2026-11-28:
# .blf loses: nothing
# .log loses: arbitration_id, channel, dlc, is_extended_id
# .csv loses: channel, is_fd
# .db loses: channel, is_fd
# python-can 4.6.1
