-- Nodes and their leases. Everything but renewals is done under one lock, so numbers rise in the order of commits.

-- The newest number: each join and each grant takes a higher one, and at least the time in microseconds. So a failover that
-- loses grants gives none of their numbers again. Most of its page is left free, see `head`.
CREATE TABLE {schema}.cluster (
    is_one boolean PRIMARY KEY DEFAULT true CHECK (is_one),
    number bigint NOT NULL,
    -- How often leases were given back: a node that sees another number looks for work.
    releases bigint NOT NULL
) WITH (fillfactor = 10);
INSERT INTO {schema}.cluster (number, releases) VALUES (0, 0);

-- The register of nodes. A row is a node's membership: it goes when the node leaves, and when it has not renewed it and
-- another node saw that.
CREATE TABLE {schema}.nodes (
    number bigint PRIMARY KEY,
    epoch bigint NOT NULL,
    name text COLLATE "C" NOT NULL UNIQUE,
    address text NOT NULL,
    level integer NOT NULL,
    signing text NOT NULL,
    verifying text[] NOT NULL,
    -- Of the process: so it recognises its own row when it did not hear that it has joined.
    token uuid NOT NULL,
    -- Whether it can do work, so that leases are for it.
    serves boolean NOT NULL,
    joined_at timestamptz NOT NULL,
    term interval NOT NULL,
    until timestamptz NOT NULL
) WITH (fillfactor = 20);

-- A lease that nobody has is not there. A node's leases go with its row.
CREATE TABLE {schema}.leases (
    name text COLLATE "C" PRIMARY KEY,
    epoch bigint NOT NULL,
    number bigint NOT NULL,
    node bigint NOT NULL REFERENCES {schema}.nodes (number) ON DELETE CASCADE,
    granted_at timestamptz NOT NULL
);
CREATE INDEX leases_node ON {schema}.leases (node);

-- Since when a caller is in contact with the database without a gap, by the database's clock. What it knows comes from
-- its last answer. A database that was away, stopped or set to another time makes a gap for every node, so that each has
-- its whole term to come back; and so does a call that waited in a server that was stopped.
CREATE FUNCTION {schema}.contact_since(
    known_since timestamptz, known_last timestamptz, at timestamptz, term interval
) RETURNS timestamptz LANGUAGE sql IMMUTABLE AS $$
    SELECT CASE WHEN known_last BETWEEN at - term / 3 AND at THEN known_since ELSE at END
$$;

-- Whether a node has not renewed its membership in time, and the caller could have seen it for a whole term.
CREATE FUNCTION {schema}.is_dead(until timestamptz, term interval, contact_since timestamptz, at timestamptz)
RETURNS boolean LANGUAGE sql IMMUTABLE AS $$
    SELECT until < at AND contact_since <= at - term
$$;

-- At least how many microseconds it is since 1970, and more than a number.
CREATE FUNCTION {schema}.next_number(newest bigint) RETURNS bigint LANGUAGE sql VOLATILE AS $$
    SELECT greatest(newest + 1, (extract(epoch FROM clock_timestamp()) * 1000000)::bigint)
$$;

-- Registers a node. `predecessor` is a membership that is known to be over: its process has ended. So is one that this
-- process has without knowing it, because an answer was lost. Outcomes: 1 joined; 2 the name is another's, whose address
-- `other` is; 3 the secrets of the node `other` do not fit.
CREATE FUNCTION {schema}.join_cluster(
    of_epoch bigint, of_name text, of_address text, of_level integer, of_signing text, of_verifying text[],
    of_token uuid, of_serves boolean, of_term_ms bigint, predecessor_epoch bigint, predecessor bigint,
    known_since timestamptz, known_last timestamptz,
    OUT outcome integer, OUT number bigint, OUT other text, OUT contact timestamptz, OUT answered_at timestamptz
) LANGUAGE plpgsql VOLATILE AS $$
DECLARE
    of_term interval := of_term_ms * interval '1 millisecond';
BEGIN
    PERFORM pg_advisory_xact_lock(hashtextextended('amoiq {name} cluster', 0));
    answered_at := clock_timestamp();
    contact := {schema}.contact_since(known_since, known_last, answered_at, of_term);
    DELETE FROM {schema}.nodes n WHERE {schema}.is_dead(n.until, n.term, contact, answered_at)
        OR n.number = predecessor AND n.epoch = predecessor_epoch OR n.token = of_token;
    SELECT n.address INTO other FROM {schema}.nodes n WHERE n.name = of_name COLLATE "C";
    IF FOUND THEN
        outcome := 2;
        RETURN;
    END IF;
    SELECT n.name INTO other FROM {schema}.nodes n
        WHERE NOT (n.verifying @> ARRAY[of_signing] AND of_verifying @> ARRAY[n.signing]) ORDER BY n.name LIMIT 1;
    IF FOUND THEN
        outcome := 3;
        RETURN;
    END IF;
    outcome := 1;
    UPDATE {schema}.cluster c SET number = {schema}.next_number(c.number) RETURNING c.number INTO number;
    INSERT INTO {schema}.nodes VALUES (number, of_epoch, of_name, of_address, of_level, of_signing, of_verifying,
        of_token, of_serves, answered_at, of_term, clock_timestamp() + of_term);
END;
$$;

-- Renews a node's membership, also one that is late: as long as nobody removed it, nobody has anything of it. Removes
-- nodes that are dead. A renewal that a crash loses is made again before anybody may take over, so it need not be flushed.
CREATE FUNCTION {schema}.renew_node(
    of_name text, of_number bigint, of_serves boolean, of_term_ms bigint, known_since timestamptz, known_last timestamptz,
    OUT is_member boolean, OUT contact timestamptz, OUT answered_at timestamptz
) LANGUAGE plpgsql VOLATILE AS $$
DECLARE
    of_term interval := of_term_ms * interval '1 millisecond';
BEGIN
    answered_at := clock_timestamp();
    contact := {schema}.contact_since(known_since, known_last, answered_at, of_term);
    IF EXISTS (SELECT FROM {schema}.nodes n
        WHERE n.number <> of_number AND {schema}.is_dead(n.until, n.term, contact, answered_at))
    THEN
        PERFORM pg_advisory_xact_lock(hashtextextended('amoiq {name} cluster', 0));
        DELETE FROM {schema}.nodes n
            WHERE n.number <> of_number AND {schema}.is_dead(n.until, n.term, contact, answered_at);
    ELSE
        PERFORM set_config('synchronous_commit', 'off', true);
    END IF;
    UPDATE {schema}.nodes n SET until = clock_timestamp() + n.term, serves = of_serves
        WHERE n.number = of_number AND n.name = of_name COLLATE "C";
    is_member := FOUND;
END;
$$;

-- Grants the leases that nobody has, and tells those that the node has.
CREATE FUNCTION {schema}.acquire_leases(of_name text, of_node bigint, names text[])
RETURNS TABLE (lease text, fence bigint) LANGUAGE plpgsql VOLATILE AS $$
DECLARE
    of_epoch bigint;
    free text[];
    last bigint;
BEGIN
    PERFORM pg_advisory_xact_lock(hashtextextended('amoiq {name} cluster', 0));
    SELECT n.epoch INTO of_epoch FROM {schema}.nodes n
        WHERE n.number = of_node AND n.name = of_name COLLATE "C" AND n.until >= clock_timestamp();
    IF NOT FOUND THEN
        RAISE EXCEPTION 'node % is no member', of_name USING ERRCODE = 'AMQ05';
    END IF;
    SELECT coalesce(array_agg(DISTINCT w.name), '{}') INTO free FROM unnest(names) AS w (name)
        WHERE NOT EXISTS (SELECT FROM {schema}.leases l WHERE l.name = w.name COLLATE "C");
    IF cardinality(free) > 0 THEN
        UPDATE {schema}.cluster c SET number = {schema}.next_number(c.number) + cardinality(free) - 1
            RETURNING c.number INTO last;
        INSERT INTO {schema}.leases
            SELECT f.name, of_epoch, last - cardinality(free) + f.place, of_node, clock_timestamp()
            FROM unnest(free) WITH ORDINALITY AS f (name, place);
    ELSE
        -- What the standby may not have yet, see `append`.
        PERFORM pg_logical_emit_message(true, 'amoiq', 'repeat');
    END IF;
    RETURN QUERY SELECT l.name, l.number FROM {schema}.leases l WHERE l.node = of_node AND l.name = ANY (names);
END;
$$;

-- Takes leases back. Only the very grants that are named: the node may have been given one again.
CREATE FUNCTION {schema}.release_leases(of_name text, of_node bigint, names text[], numbers bigint[])
RETURNS void LANGUAGE plpgsql VOLATILE AS $$
BEGIN
    PERFORM pg_advisory_xact_lock(hashtextextended('amoiq {name} cluster', 0));
    DELETE FROM {schema}.leases l USING unnest(names, numbers) AS g (name, number)
        WHERE l.name = g.name COLLATE "C" AND l.number = g.number AND l.node = of_node
            AND EXISTS (SELECT FROM {schema}.nodes n WHERE n.number = of_node AND n.name = of_name COLLATE "C");
    UPDATE {schema}.cluster SET releases = releases + 1;
END;
$$;

-- Refuses a transaction under a lease that another node may have. Until the transaction has ended, nobody gets it.
CREATE FUNCTION {schema}.check_lease(of_name text, of_epoch bigint, of_number bigint)
RETURNS void LANGUAGE plpgsql VOLATILE AS $$
BEGIN
    PERFORM FROM {schema}.leases l
        WHERE l.name = of_name COLLATE "C" AND l.epoch = of_epoch AND l.number = of_number FOR SHARE;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'lease % is not held under % of epoch %', of_name, of_number, of_epoch
            USING ERRCODE = 'AMQ04';
    END IF;
END;
$$;
