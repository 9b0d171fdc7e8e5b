-- What each tenant sends in five minutes, and to how many hosts, every minute.
INSERT INTO results
SELECT window_start,
       tenant,
       count(*)               AS cnt,
       sum(bytes_out)         AS sum_out,
       count(DISTINCT dst_ip) AS dst_ips
FROM TABLE(HOP(TABLE flows, DESCRIPTOR(ts), INTERVAL '1' MINUTE, INTERVAL '5' MINUTES))
GROUP BY window_start, window_end, tenant;
