-- Each host's minute against the same minute of its tenant's other hosts: bytes sent, peers,
-- ports, and how evenly its flows are spread over ports.
CREATE VIEW host_minute AS
SELECT window_start,
       window_end,
       tenant,
       src_ip,
       count(*)                 AS flows,
       sum(bytes_out)           AS bytes_out,
       sum(bytes_in)            AS bytes_in,
       count(DISTINCT dst_ip)   AS peers,
       count(DISTINCT dst_port) AS ports,
       entropy(dst_port)        AS port_entropy
FROM TABLE(TUMBLE(TABLE flows, DESCRIPTOR(ts), INTERVAL '1' MINUTE))
GROUP BY window_start, window_end, tenant, src_ip;

INSERT INTO host_minutes
SELECT * FROM host_minute;

INSERT INTO findings SELECT * FROM host_minute WHERE ports > 5;
