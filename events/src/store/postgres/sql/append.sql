-- Refuses a caller whose newest event is not in this log: it was restored, or a failover lost the log's end.
-- An event that was removed leaves its position behind, so a caller may know a position without an event.
CREATE FUNCTION {schema}.check_history(known_epoch bigint, known_position bigint, known_id uuid)
RETURNS void LANGUAGE plpgsql STABLE AS $$
DECLARE
    stored_epoch bigint;
    stored_head bigint;
    stored_id uuid;
BEGIN
    SELECT s.epoch, h.position INTO stored_epoch, stored_head FROM {schema}.store s, {schema}.head h;
    SELECT e.id INTO stored_id FROM {schema}.events e WHERE e.position = known_position;
    IF stored_epoch <> known_epoch OR stored_head < known_position OR stored_id <> known_id THEN
        RAISE EXCEPTION 'event % of epoch % is not in the log, which is at % of epoch %',
            known_position, known_epoch, stored_head, stored_epoch USING ERRCODE = 'AMQ01';
    END IF;
END;
$$;

-- Where an append's events are, when these very events are stored already: after the version `expected`, or, for -1,
-- where the first id is in the stream, however long ago. NULL when they are not.
CREATE FUNCTION {schema}.stored_before(
    of_stream bigint, expected bigint, given uuid[],
    OUT last_version bigint, OUT last_position bigint
) LANGUAGE plpgsql STABLE AS $$
DECLARE
    before bigint := expected;
BEGIN
    IF expected = -1 THEN
        -- By the id alone first: no plan must look at all of a long stream.
        SELECT e.version - 1 INTO before
            FROM (SELECT * FROM {schema}.events e WHERE e.id = given[1] OFFSET 0) e
            WHERE e.stream = of_stream ORDER BY e.version DESC LIMIT 1;
    END IF;
    SELECT max(e.version), max(e.position) INTO last_version, last_position
        FROM unnest(given) WITH ORDINALITY AS g (id, number)
        JOIN {schema}.events e ON e.stream = of_stream AND e.version = before + g.number AND e.id = g.id
        HAVING count(*) = cardinality(given);
END;
$$;

-- Appends a group: each append gets an answer of its own, and one that is refused leaves the others alone.
--
-- Every statement here sees what was committed before it, and comes after the lock: so no decision is older than the lock,
-- and positions are in the order of commits, without gaps. At another isolation than READ COMMITTED the snapshot would be
-- older.
--
-- It commits by itself, so that the lock never waits for the caller: a call is several messages of the protocol, and a
-- caller may be stopped between that which executes and that which commits.
--
-- Streams are named once and referred to by their number from 1. `append_expected` is -1 for any version, and 0 for no
-- stream. `any_firsts`: the first ids of the appends for any version. `append_again`: the first id is in an earlier append
-- of this call. A call without appends confirms what is stored. Outcomes: 0 a conflict, with the stream's version; 1 appended, and 2 a repeat, with the place of the last
-- event. Unless `may_be_lost`, nothing is written while the server answers before a commit is safe: any role may have set
-- that since.
CREATE PROCEDURE {schema}.append(
    may_be_lost boolean, known_epoch bigint, known_position bigint, known_id uuid,
    stream_names text[], any_firsts uuid[],
    append_stream integer[], append_expected bigint[], append_count integer[], append_again boolean[],
    ids uuid[], types bytea[], schemas integer[], times bigint[], causations bytea[], actors bytea[], datas bytea[],
    OUT outcomes integer[], OUT last_versions bigint[], OUT last_positions bigint[]
)
LANGUAGE plpgsql AS $$
DECLARE
    started bigint;
    reached bigint;
    -- Up to where events were decided and also inserted.
    inserted bigint;
    streams bigint[];
    versions bigint[];
    known uuid[];
    -- Where each event goes: NULL when it does not.
    row_positions bigint[] := array_fill(NULL::bigint, ARRAY[cardinality(ids)]);
    row_streams bigint[] := row_positions;
    row_versions bigint[] := row_positions;
    next_event integer := 1;
    first_event integer;
    at integer;
    expected bigint;
    version bigint;
    stream bigint;
    is_repeat boolean := false;
    outcome integer;
    last_version bigint;
    last_position bigint;
BEGIN
    outcomes := '{}';
    last_versions := '{}';
    last_positions := '{}';
    PERFORM pg_advisory_xact_lock({lock});
    IF current_setting('transaction_isolation') <> 'read committed' THEN
        RAISE EXCEPTION 'appends need the isolation level read committed' USING ERRCODE = 'AMQ02';
    END IF;
    IF NOT may_be_lost AND current_setting('synchronous_commit') NOT IN ('on', 'remote_apply') THEN
        RAISE EXCEPTION 'synchronous_commit is %, so that a crash loses what was acknowledged',
            current_setting('synchronous_commit') USING ERRCODE = 'AMQ03';
    END IF;
    PERFORM {schema}.check_history(known_epoch, known_position, known_id);
    SELECT h.position INTO started FROM {schema}.head h;
    reached := started;
    inserted := started;
    SELECT array_agg(s.stream ORDER BY n.number),
           array_agg(coalesce(greatest(s.removed, (
               SELECT e.version FROM {schema}.events e WHERE e.stream = s.stream ORDER BY e.version DESC LIMIT 1
           )), 0) ORDER BY n.number)
        INTO streams, versions
        FROM unnest(stream_names) WITH ORDINALITY AS n (name, number)
        LEFT JOIN {schema}.streams s ON s.name = n.name COLLATE "C";
    SELECT array_agg(f.id) INTO known FROM unnest(any_firsts) AS f (id)
        WHERE EXISTS (SELECT FROM {schema}.events e WHERE e.id = f.id);

    FOR number IN 1 .. cardinality(append_stream) LOOP
        at := append_stream[number];
        expected := append_expected[number];
        version := versions[at];
        first_event := next_event;
        next_event := next_event + append_count[number];
        last_position := NULL;
        IF expected = -1 AND (append_again[number] OR ids[first_event] = ANY (known))
            OR expected BETWEEN 0 AND version - 1
        THEN
            -- It may be stored already, perhaps by this call.
            INSERT INTO {schema}.events
                SELECT * FROM unnest(row_positions, row_streams, row_versions, ids, types, schemas, times, causations,
                    actors, datas) AS e (position) WHERE e.position > inserted;
            inserted := reached;
            SELECT s.last_version, s.last_position INTO last_version, last_position
                FROM {schema}.stored_before(streams[at], expected, ids[first_event:next_event - 1]) s;
        END IF;
        IF last_position IS NOT NULL THEN
            is_repeat := true;
            outcome := 2;
        ELSIF expected NOT IN (-1, version) THEN
            outcome := 0;
            last_version := version;
            last_position := 0;
        ELSE
            IF streams[at] IS NULL THEN
                INSERT INTO {schema}.streams AS s (name) VALUES (stream_names[at]) RETURNING s.stream INTO stream;
                streams[at] := stream;
            END IF;
            FOR event IN first_event .. next_event - 1 LOOP
                reached := reached + 1;
                version := version + 1;
                row_positions[event] := reached;
                row_streams[event] := streams[at];
                row_versions[event] := version;
            END LOOP;
            versions[at] := version;
            outcome := 1;
            last_version := version;
            last_position := reached;
        END IF;
        outcomes := outcomes || outcome;
        last_versions := last_versions || last_version;
        last_positions := last_positions || last_position;
    END LOOP;

    IF reached > started THEN
        INSERT INTO {schema}.events
            SELECT * FROM unnest(row_positions, row_streams, row_versions, ids, types, schemas, times, causations, actors,
                datas) AS e (position) WHERE e.position > inserted;
        UPDATE {schema}.head SET position = reached;
    ELSIF is_repeat OR cardinality(append_stream) = 0 THEN
        -- A transaction that writes nothing waits for no standby, and what is stored may never have arrived there.
        PERFORM pg_logical_emit_message(true, 'amoiq', 'repeat');
    END IF;
    COMMIT;
END;
$$;
