-- What changed on other nodes than $1 since it was read: of the lists $3 of the nodes $2, up to the changes $4 and
-- with the removals $5 purged. A node that is not among them is read as a whole, and so is one of which removals were
-- purged that were not read. Of a long list come the oldest $6 changes; whatever changed together comes together.
SELECT n.node, n.membership,
    CASE WHEN e.found >= $6 THEN e.newest ELSE n.last END, n.purged, w.is_whole, e.tenant, e.user_id, e.visitor,
    n.list
FROM {schema}.signal_nodes n
LEFT JOIN unnest($2::text[], $3::bigint[], $4::bigint[], $5::bigint[]) AS s (node, list, last, purged)
    ON s.node = n.node AND s.list = n.list
CROSS JOIN LATERAL (
    SELECT s.node IS NULL OR n.purged > greatest(s.last, s.purged) AS is_whole
) w
LEFT JOIN LATERAL (
    SELECT p.*, count(*) OVER () AS found, max(p.change) OVER () AS newest FROM (
        SELECT c.tenant, c.user_id, c.visitor, c.change FROM {schema}.signal_entries c
        WHERE c.node = n.node AND c.change > CASE WHEN w.is_whole THEN 0 ELSE s.last END
            AND (c.visitor IS NOT NULL OR NOT w.is_whole)
        ORDER BY c.change FETCH FIRST $6 ROWS WITH TIES
    ) p
) e ON true
WHERE n.node <> $1 COLLATE "C" AND (s.node IS NULL OR s.last < n.last)
ORDER BY n.node, e.change
