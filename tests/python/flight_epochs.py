"""Reads a running job through ADBC until its last epoch, and checks each answer.

    flight_epochs.py grpc://HOST:PORT EPOCHS

Each epoch of the job adds 500 bytes, in windows that are open or closed. So in every answer that is
of one whole epoch the bytes of `results` and of `live` together are 500 times the epoch, the closed
windows have 1000 bytes each, and `results` has the rows that the records of `system.epochs` count.
"""

import sys
import time

import adbc_driver_flightsql.dbapi as flight_sql

ANSWERS_MIN = 20
SECONDS_MAX = 120

ONE_EPOCH = """
SELECT (SELECT epoch FROM system.jobs)                                       AS epoch,
       (SELECT coalesce(sum(bytes), 0) FROM results.host_minutes)            AS closed,
       (SELECT coalesce(sum(bytes), 0) FROM live.host_minutes)               AS open,
       (SELECT count(*) FROM results.host_minutes)                           AS closed_rows,
       (SELECT count(DISTINCT window_start) FROM results.host_minutes)       AS closed_windows,
       (SELECT count(*) FROM results.large)                                  AS large_rows,
       (SELECT sum(rows_out) FROM system.epochs)                             AS recorded_rows,
       (SELECT count(*) FROM system.epochs)                                  AS records
"""
WINDOWS = "SELECT window_start, tenant, host, flows, bytes FROM {}.host_minutes"


def main(address: str, epochs: int) -> None:
    answers, seen, live = 0, set(), {}
    deadline = time.monotonic() + SECONDS_MAX
    with flight_sql.connect(address, autocommit=True) as connection, connection.cursor() as cursor:
        while True:
            cursor.execute(ONE_EPOCH)
            answer = dict(zip([column[0] for column in cursor.description], cursor.fetchone()))
            check(answer)
            answers += 1
            seen.add(answer["epoch"])
            cursor.execute(WINDOWS.format("live"))
            for *window, flows, bytes_so_far in cursor.fetchall():
                known = live.get(tuple(window), (0, 0))
                live[tuple(window)] = (max(known[0], flows), max(known[1], bytes_so_far))
            if answer["epoch"] >= epochs and answers >= ANSWERS_MIN:
                break
            assert time.monotonic() < deadline, f"after {SECONDS_MAX} s: {answer}"
        assert len(seen) > 3, f"the job did not move while it was read: {seen}"
        cursor.execute(WINDOWS.format("results"))
        closed = {tuple(window): (flows, total) for *window, flows, total in cursor.fetchall()}
        cursor.execute(WINDOWS.format("live"))
        still_open = {tuple(window) for *window, _, _ in cursor.fetchall()}
    followed = 0
    for window, (flows, bytes_so_far) in live.items():
        if window in still_open:
            continue
        assert window in closed, f"{window} was open and is in no result"
        assert closed[window] >= (flows, bytes_so_far), f"{window}: {closed[window]}"
        followed += 1
    assert followed > 10, f"only {followed} open windows were seen to close"
    print(f"{answers} answers of {len(seen)} epochs, {followed} open windows closed: all equal")


def check(answer: dict) -> None:
    wanted = {
        "closed + open": (answer["closed"] + answer["open"], 500 * answer["epoch"]),
        "bytes of closed windows": (answer["closed"], 1000 * answer["closed_windows"]),
        "rows of closed windows": (answer["closed_rows"], 10 * answer["closed_windows"]),
        "rows that pass": (answer["large_rows"], 2 * answer["epoch"]),
        "recorded rows": (
            answer["closed_rows"] + answer["large_rows"], answer["recorded_rows"]),
        "records": (answer["records"], answer["epoch"]),
    }
    for what, (actual, expected) in wanted.items():
        assert actual == expected, f"{what}: {actual}, not {expected}, in {answer}"


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
