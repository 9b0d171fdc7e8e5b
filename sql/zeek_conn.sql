-- Bytes, connections, distinct peers and ports of each source host, in windows of five minutes
-- that slide by one.
INSERT INTO host_traffic
SELECT window_start,
       window_end,
       id_orig_h                                               AS host,
       count(*)                                                AS connections,
       sum(coalesce(orig_bytes, 0) + coalesce(resp_bytes, 0))  AS bytes,
       count(DISTINCT id_resp_h)                               AS peers,
       count(DISTINCT id_resp_p)                               AS ports
FROM TABLE(HOP(TABLE conn, DESCRIPTOR(ts), INTERVAL '1' MINUTE, INTERVAL '5' MINUTES))
GROUP BY window_start, window_end, id_orig_h;
