-- Queries, distinct names and the share of names that do not exist, for each client and minute.
INSERT INTO client_minutes
SELECT date_trunc('minute', ts)                                                  AS minute,
       "id.orig_h"                                                               AS client,
       count(*)                                                                  AS queries,
       count(DISTINCT query)                                                     AS names,
       CAST(count(*) FILTER (WHERE rcode_name = 'NXDOMAIN') AS DOUBLE) / count(*) AS nxdomain_share
FROM dns
GROUP BY date_trunc('minute', ts), "id.orig_h";
