-- The sessions of each host: what it sends without a pause of more than two minutes.
INSERT INTO results
SELECT src_ip,
       count(*)       AS cnt,
       sum(bytes_out) AS sum_out,
       min(ts)        AS min_ts,
       max(ts)        AS max_ts
FROM TABLE(SESSION(TABLE flows PARTITION BY src_ip, DESCRIPTOR(ts), INTERVAL '2' MINUTES))
GROUP BY window_start, window_end, src_ip;
