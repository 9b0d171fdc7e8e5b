-- What each host sends and receives in a minute.
INSERT INTO results
SELECT window_start,
       tenant,
       src_ip,
       count(*)       AS cnt,
       sum(bytes_out) AS sum_out,
       sum(bytes_in)  AS sum_in,
       max(packets)   AS max_packets
FROM TABLE(TUMBLE(TABLE flows, DESCRIPTOR(ts), INTERVAL '1' MINUTE))
GROUP BY window_start, window_end, tenant, src_ip;
