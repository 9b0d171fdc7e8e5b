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

-- Traffic grows by factors, not by sums, so bytes, peers and ports are compared by logarithm. The
-- last argument is the least deviation that matters: a quarter of a factor e, half a bit.
CREATE VIEW scored AS
SELECT *,
       count(*)             OVER w AS hosts,
       median(bytes_out)    OVER w AS bytes_median,
       median(peers)        OVER w AS peers_median,
       median(ports)        OVER w AS ports_median,
       median(port_entropy) OVER w AS entropy_median,
       robust_zscore(ln(1 + bytes_out), median(ln(1 + bytes_out)) OVER w,
                     mad(ln(1 + bytes_out)) OVER w, 0.25)                          AS bytes_z,
       robust_zscore(ln(peers), median(ln(peers)) OVER w, mad(ln(peers)) OVER w, 0.25) AS peers_z,
       robust_zscore(ln(ports), median(ln(ports)) OVER w, mad(ln(ports)) OVER w, 0.25) AS ports_z,
       robust_zscore(port_entropy, median(port_entropy) OVER w,
                     mad(port_entropy) OVER w, 0.5)                                AS entropy_z
FROM host_minute
WINDOW w AS (PARTITION BY window_start, tenant);

-- Of each host's minute only what departs most, and only where ten hosts or more say what is usual.
CREATE VIEW strongest AS
SELECT window_start, window_end, tenant, src_ip, hosts,
       greatest(bytes_z, peers_z, ports_z, entropy_z) AS z,
       CASE greatest(bytes_z, peers_z, ports_z, entropy_z)
            WHEN bytes_z THEN 'bytes sent'
            WHEN peers_z THEN 'peers'
            WHEN ports_z THEN 'ports'
            ELSE 'bits of port entropy' END             AS metric,
       CASE greatest(bytes_z, peers_z, ports_z, entropy_z)
            WHEN bytes_z THEN CAST(bytes_out AS DOUBLE)
            WHEN peers_z THEN CAST(peers AS DOUBLE)
            WHEN ports_z THEN CAST(ports AS DOUBLE)
            ELSE port_entropy END                       AS observed,
       CASE greatest(bytes_z, peers_z, ports_z, entropy_z)
            WHEN bytes_z THEN CAST(bytes_median AS DOUBLE)
            WHEN peers_z THEN CAST(peers_median AS DOUBLE)
            WHEN ports_z THEN CAST(ports_median AS DOUBLE)
            ELSE entropy_median END                     AS expected
FROM scored
WHERE hosts >= 10;

-- A grade of 70 is a z-score of about 4.5.
INSERT INTO findings
SELECT window_start,
       window_end,
       tenant,
       src_ip,
       round(anomaly_grade(z), 1) AS score,
       metric,
       round(expected, 2)         AS expected,
       round(observed, 2)         AS observed,
       concat(src_ip, ' had ', round(observed, 2), ' ', metric, ' in the minute from ',
              to_char(window_start, '%H:%M'), ', where the ', hosts, ' hosts of ', tenant,
              ' have ', round(expected, 2)) AS sentence
FROM strongest
WHERE anomaly_grade(z) >= 70;
