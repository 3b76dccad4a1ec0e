-- Which visitors are online on each node. Not logged: a crash of the server empties both tables, and each node then
-- publishes everything again. All rows of a node are written by that node alone, one call after the other.

-- How far each node has published, under which membership.
CREATE UNLOGGED TABLE {schema}.signal_nodes (
    node text COLLATE "C" PRIMARY KEY,
    membership bigint NOT NULL,
    -- Another one each time that the node starts from nothing.
    list bigint NOT NULL,
    -- Counts the calls that made the list.
    last bigint NOT NULL,
    -- The newest call whose removals are not kept any more.
    purged bigint NOT NULL
) WITH (fillfactor = 20);

-- The newest state of each entry; without a visitor for whoever has gone.
CREATE UNLOGGED TABLE {schema}.signal_entries (
    node text COLLATE "C" NOT NULL,
    tenant text COLLATE "C" NOT NULL,
    user_id text COLLATE "C" NOT NULL,
    change bigint NOT NULL,
    changed_at timestamptz NOT NULL,
    visitor text,
    PRIMARY KEY (node, tenant, user_id)
) WITH (fillfactor = 70);
CREATE INDEX signal_entries_change ON {schema}.signal_entries (node, change);
CREATE INDEX signal_entries_gone ON {schema}.signal_entries (node, changed_at) WHERE visitor IS NULL;

-- Publishes entries of a member, each once, and wakes the other nodes. Tells whether its earlier entries are there.
CREATE FUNCTION {schema}.publish_entries(
    of_node text, of_membership bigint, tenants text[], users text[], visitors text[]
) RETURNS boolean LANGUAGE plpgsql VOLATILE AS $$
DECLARE
    this_change bigint;
    is_known boolean;
    gone bigint;
BEGIN
    PERFORM FROM {schema}.nodes n WHERE n.name = of_node COLLATE "C" AND n.number = of_membership FOR SHARE;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'node % is no member', of_node USING ERRCODE = 'AMQ05';
    END IF;
    UPDATE {schema}.signal_nodes s SET last = s.last + 1
        WHERE s.node = of_node COLLATE "C" AND s.membership = of_membership RETURNING s.last INTO this_change;
    is_known := FOUND;
    IF NOT is_known THEN
        this_change := 1;
        DELETE FROM {schema}.signal_entries e WHERE e.node = of_node COLLATE "C";
        INSERT INTO {schema}.signal_nodes AS s VALUES (of_node, of_membership, (random() * 1e15)::bigint, 1, 0)
            ON CONFLICT (node) DO UPDATE
            SET membership = EXCLUDED.membership, list = EXCLUDED.list, last = 1, purged = 0;
    END IF;
    INSERT INTO {schema}.signal_entries AS e
        SELECT of_node, g.tenant, g.user_id, this_change, clock_timestamp(), g.visitor
        FROM unnest(tenants, users, visitors) AS g (tenant, user_id, visitor)
        ON CONFLICT (node, tenant, user_id) DO UPDATE SET
            change = EXCLUDED.change, changed_at = EXCLUDED.changed_at, visitor = EXCLUDED.visitor;
    -- Whoever has not read them in a minute reads everything again.
    WITH removed AS (
        DELETE FROM {schema}.signal_entries e
            WHERE e.node = of_node COLLATE "C" AND e.visitor IS NULL
            AND e.changed_at < clock_timestamp() - interval '1 minute' RETURNING e.change
    ) SELECT max(r.change) INTO gone FROM removed r;
    IF gone IS NOT NULL THEN
        UPDATE {schema}.signal_nodes s SET purged = greatest(s.purged, gone) WHERE s.node = of_node COLLATE "C";
    END IF;
    PERFORM pg_notify('{name}_signals', of_node);
    RETURN is_known;
END;
$$;

-- Removes what a node published under a membership that is over.
CREATE FUNCTION {schema}.forget_entries(of_node text, of_membership bigint)
RETURNS void LANGUAGE plpgsql VOLATILE AS $$
BEGIN
    DELETE FROM {schema}.signal_nodes s WHERE s.node = of_node COLLATE "C" AND s.membership = of_membership;
    IF FOUND THEN
        DELETE FROM {schema}.signal_entries e WHERE e.node = of_node COLLATE "C";
    END IF;
END;
$$;
