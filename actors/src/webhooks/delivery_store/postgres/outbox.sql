-- Webhook deliveries of several nodes. A lane is written by the node that holds its lease; others remove what nobody
-- needs. Whoever changes a lane's deliveries locks its row first, because the row counts them.

CREATE TABLE {schema}.outbox (
    is_one boolean PRIMARY KEY DEFAULT true CHECK (is_one),
    -- Of the log that is followed; absent until one is.
    epoch bigint,
    -- The one that is being taken over.
    adopting bigint
);
INSERT INTO {schema}.outbox (epoch) VALUES (NULL);

CREATE TABLE {schema}.lanes (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    tenant text COLLATE "C" NOT NULL,
    webhook text COLLATE "C" NOT NULL,
    -- The cursor; since when it fails; until when it is left alone, and how far away that was; the replay: after, until,
    -- cursor, how many deliveries, 1 when its owner ended it.
    progress bigint[] NOT NULL,
    -- How many deliveries there are, by the number of their status.
    totals bigint[] NOT NULL DEFAULT '{0,0,0,0,0}',
    UNIQUE (tenant, webhook)
) WITH (fillfactor = 50);

CREATE TABLE {schema}.deliveries (
    lane bigint NOT NULL,
    position bigint NOT NULL,
    event_id uuid NOT NULL,
    message_id uuid NOT NULL,
    session text NOT NULL,
    status integer NOT NULL, -- 0 pending, 1 delivered, 2 failed, 3 refused, 4 skipped
    tries bigint NOT NULL,
    next_at bigint,
    holds boolean NOT NULL,
    refused_at bigint,
    changed_at bigint NOT NULL,
    attempts bigint NOT NULL, -- how many there ever were: the number of the last
    PRIMARY KEY (lane, position)
);
CREATE INDEX deliveries_by_status ON {schema}.deliveries (lane, status, position);
CREATE INDEX deliveries_by_time ON {schema}.deliveries (lane, changed_at) WHERE status NOT IN (0, 3);
CREATE INDEX deliveries_by_message ON {schema}.deliveries (lane, message_id);

CREATE TABLE {schema}.attempts (
    lane bigint NOT NULL,
    position bigint NOT NULL,
    number bigint NOT NULL,
    at bigint NOT NULL,
    duration_ms bigint NOT NULL,
    status integer,
    error text,
    answer bytea NOT NULL,
    PRIMARY KEY (lane, position, number)
);

-- Sessions whose deliveries were erased, up to a position: a lane on any node that still has one in memory does not write
-- it again. What is kept does not say which session it was.
CREATE TABLE {schema}.erased_sessions (
    digest bytea PRIMARY KEY,
    until bigint NOT NULL,
    at timestamptz NOT NULL
);

-- The planner's samples would keep values of rows that were removed.
ALTER TABLE {schema}.deliveries ALTER COLUMN session SET STATISTICS 0;
ALTER TABLE {schema}.attempts ALTER COLUMN answer SET STATISTICS 0, ALTER COLUMN error SET STATISTICS 0;

CREATE FUNCTION {schema}.session_digest(of_tenant text, of_session text) RETURNS bytea LANGUAGE sql IMMUTABLE AS $$
    SELECT sha256(convert_to(of_tenant || ' ' || of_session, 'UTF8'))
$$;

-- A lane's counts, locked.
CREATE FUNCTION {schema}.lock_lane(of_lane bigint) RETURNS bigint[] LANGUAGE plpgsql VOLATILE AS $$
DECLARE
    counted bigint[];
BEGIN
    SELECT l.totals INTO counted FROM {schema}.lanes l WHERE l.id = of_lane FOR UPDATE;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'lane % was removed', of_lane USING ERRCODE = 'AMQ06';
    END IF;
    RETURN counted;
END;
$$;

-- Starts to take over the log's epoch: until that is completed, lanes record nothing. An epoch that the log has left, as a
-- node that starts slowly may know it, is refused where the log is in this schema. Tells whether there is anything to do.
CREATE FUNCTION {schema}.begin_adoption(new_epoch bigint) RETURNS boolean LANGUAGE plpgsql VOLATILE AS $$
DECLARE
    is_over boolean := false;
BEGIN
    IF to_regclass('{schema}.store') IS NOT NULL THEN
        -- Until this transaction has ended, the log begins no epoch.
        PERFORM FROM {schema}.store FOR SHARE;
        -- One that the log never had belongs to a log elsewhere.
        is_over := EXISTS (SELECT FROM {schema}.epochs e, {schema}.store s
            WHERE s.epoch <> new_epoch AND new_epoch IN (e.epoch, e.replaced, e.known));
    END IF;
    IF is_over THEN
        RAISE EXCEPTION 'the log has gone on in another epoch' USING ERRCODE = 'AMQ08';
    END IF;
    UPDATE {schema}.outbox o SET adopting = new_epoch WHERE o.epoch IS DISTINCT FROM new_epoch;
    RETURN FOUND;
END;
$$;

-- Sets lanes after a lane back to `common`: what is stored after it belongs to events that are gone. It changes some
-- `limit_rows` rows, and tells after which lane to go on; nothing at the end, and when somebody else has completed it.
CREATE FUNCTION {schema}.set_back_lanes(new_epoch bigint, common bigint, after bigint, limit_rows bigint)
RETURNS bigint LANGUAGE plpgsql VOLATILE AS $$
DECLARE
    lane record;
    gone record;
    counted bigint[];
    found_here bigint;
    done bigint := 0;
BEGIN
    -- Nobody completes it before this transaction has ended.
    PERFORM FROM {schema}.outbox o WHERE o.adopting = new_epoch FOR SHARE;
    IF NOT FOUND THEN
        RETURN NULL;
    END IF;
    FOR lane IN SELECT l.id FROM {schema}.lanes l WHERE l.id > after ORDER BY l.id LOOP
        SELECT l.totals INTO counted FROM {schema}.lanes l WHERE l.id = lane.id FOR UPDATE;
        -- It may have been removed meanwhile.
        CONTINUE WHEN NOT FOUND;
        found_here := 0;
        FOR gone IN DELETE FROM {schema}.deliveries d WHERE d.lane = lane.id AND d.position IN (SELECT e.position
            FROM {schema}.deliveries e WHERE e.lane = lane.id AND e.position > common ORDER BY e.position LIMIT limit_rows)
            RETURNING d.position, d.status
        LOOP
            DELETE FROM {schema}.attempts a WHERE a.lane = lane.id AND a.position = gone.position;
            counted[gone.status + 1] := counted[gone.status + 1] - 1;
            found_here := found_here + 1;
        END LOOP;
        UPDATE {schema}.lanes l SET
            progress = ARRAY[least(progress[1], common), progress[2], progress[3], progress[4],
                CASE WHEN progress[5] IS NOT NULL THEN least(progress[5], common) END,
                CASE WHEN progress[6] IS NOT NULL THEN least(progress[6], common) END,
                CASE WHEN progress[7] IS NOT NULL THEN least(progress[7], common) END, progress[8], progress[9]],
            totals = counted
            WHERE l.id = lane.id;
        IF found_here = limit_rows THEN
            -- There may be more of this lane.
            RETURN lane.id - 1;
        END IF;
        done := done + found_here + 1;
        IF done >= limit_rows THEN
            RETURN lane.id;
        END IF;
    END LOOP;
    RETURN NULL;
END;
$$;

-- Completes it, unless somebody else has.
CREATE FUNCTION {schema}.complete_adoption(new_epoch bigint) RETURNS void LANGUAGE sql VOLATILE AS $$
    UPDATE {schema}.outbox o SET epoch = new_epoch, adopting = NULL WHERE o.adopting = new_epoch
$$;

-- Writes deliveries as they are now, with the newest attempt of some, and the lane's progress, under a lease. An attempt
-- that is written already, because an answer was lost, is not written again. A crash of the server may lose the last
-- moments, as everywhere in the outbox: what was delivered then is delivered again.
CREATE FUNCTION {schema}.record_deliveries(
    lease text, lease_epoch bigint, lease_number bigint, of_lane bigint, new_progress bigint[],
    positions bigint[], event_ids uuid[], message_ids uuid[], sessions text[], statuses integer[], all_tries bigint[],
    next_ats bigint[], all_holds boolean[], refused_ats bigint[], changed_ats bigint[],
    attempt_ats bigint[], durations bigint[], answer_statuses integer[], errors text[], answers bytea[], kept bigint
) RETURNS void LANGUAGE plpgsql VOLATILE AS $$
DECLARE
    counted bigint[];
    of_tenant text;
    before record;
    attempts_made bigint;
BEGIN
    PERFORM set_config('synchronous_commit', 'off', true);
    PERFORM {schema}.check_lease(lease, lease_epoch, lease_number);
    counted := {schema}.lock_lane(of_lane);
    -- Once the lane is locked: whoever takes another epoch over locks it after saying so.
    PERFORM FROM {schema}.outbox o WHERE o.epoch = lease_epoch AND o.adopting IS NULL;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'the outbox follows another log' USING ERRCODE = 'AMQ04';
    END IF;
    SELECT l.tenant INTO of_tenant FROM {schema}.lanes l WHERE l.id = of_lane;
    FOR place IN 1 .. cardinality(positions) LOOP
        CONTINUE WHEN EXISTS (SELECT FROM {schema}.erased_sessions e
            WHERE e.digest = {schema}.session_digest(of_tenant, sessions[place]) AND e.until >= positions[place]);
        SELECT d.event_id, d.status, d.attempts INTO before FROM {schema}.deliveries d
            WHERE d.lane = of_lane AND d.position = positions[place];
        attempts_made := 0;
        IF FOUND THEN
            IF before.event_id <> event_ids[place] THEN
                RAISE EXCEPTION '%', positions[place] USING ERRCODE = 'AMQ07';
            END IF;
            counted[before.status + 1] := counted[before.status + 1] - 1;
            attempts_made := before.attempts;
        END IF;
        counted[statuses[place] + 1] := counted[statuses[place] + 1] + 1;
        IF attempt_ats[place] IS NOT NULL AND NOT EXISTS (SELECT FROM {schema}.attempts a
            WHERE a.lane = of_lane AND a.position = positions[place] AND a.number = attempts_made
                AND a.at = attempt_ats[place])
        THEN
            attempts_made := attempts_made + 1;
            INSERT INTO {schema}.attempts VALUES (of_lane, positions[place], attempts_made, attempt_ats[place],
                durations[place], answer_statuses[place], errors[place], answers[place]);
            DELETE FROM {schema}.attempts a WHERE a.lane = of_lane AND a.position = positions[place]
                AND a.number <= attempts_made - kept;
        END IF;
        INSERT INTO {schema}.deliveries AS d VALUES (of_lane, positions[place], event_ids[place], message_ids[place],
            sessions[place], statuses[place], all_tries[place], next_ats[place], all_holds[place], refused_ats[place],
            changed_ats[place], attempts_made)
            ON CONFLICT (lane, position) DO UPDATE SET status = excluded.status, tries = excluded.tries,
                next_at = excluded.next_at, holds = excluded.holds, refused_at = excluded.refused_at,
                changed_at = excluded.changed_at, attempts = excluded.attempts;
    END LOOP;
    UPDATE {schema}.lanes l SET progress = new_progress, totals = counted WHERE l.id = of_lane;
END;
$$;

-- Removes the oldest settled deliveries: those before a time, and those beyond `keep`; at most `limit_rows`, about, of
-- deliveries and attempts together. Tells how many deliveries.
CREATE FUNCTION {schema}.reap_deliveries(of_lane bigint, before bigint, keep bigint, limit_rows bigint)
RETURNS bigint LANGUAGE plpgsql VOLATILE AS $$
DECLARE
    counted bigint[];
    excess bigint;
    old record;
    made bigint;
    gone bigint := 0;
    gone_rows bigint := 0;
BEGIN
    PERFORM set_config('synchronous_commit', 'off', true);
    counted := {schema}.lock_lane(of_lane);
    excess := counted[2] + counted[3] + counted[5] - keep;
    FOR old IN SELECT d.position, d.status, d.changed_at FROM {schema}.deliveries d
        WHERE d.lane = of_lane AND d.status NOT IN (0, 3) ORDER BY d.changed_at LIMIT limit_rows
    LOOP
        EXIT WHEN old.changed_at >= before AND gone >= excess OR gone_rows >= limit_rows;
        DELETE FROM {schema}.attempts a WHERE a.lane = of_lane AND a.position = old.position;
        GET DIAGNOSTICS made = ROW_COUNT;
        DELETE FROM {schema}.deliveries d WHERE d.lane = of_lane AND d.position = old.position;
        counted[old.status + 1] := counted[old.status + 1] - 1;
        gone := gone + 1;
        gone_rows := gone_rows + made + 1;
    END LOOP;
    UPDATE {schema}.lanes l SET totals = counted WHERE l.id = of_lane AND gone > 0;
    RETURN gone;
END;
$$;

-- Removes a part of a lane, its row last. Tells whether nothing is left.
CREATE FUNCTION {schema}.remove_lane(of_lane bigint, limit_rows bigint) RETURNS boolean LANGUAGE plpgsql VOLATILE AS $$
BEGIN
    PERFORM FROM {schema}.lanes l WHERE l.id = of_lane FOR UPDATE;
    DELETE FROM {schema}.attempts a WHERE (a.lane, a.position, a.number) IN
        (SELECT b.lane, b.position, b.number FROM {schema}.attempts b WHERE b.lane = of_lane LIMIT limit_rows);
    IF FOUND THEN
        RETURN false;
    END IF;
    DELETE FROM {schema}.deliveries d WHERE (d.lane, d.position) IN
        (SELECT e.lane, e.position FROM {schema}.deliveries e WHERE e.lane = of_lane LIMIT limit_rows);
    IF FOUND THEN
        RETURN false;
    END IF;
    DELETE FROM {schema}.lanes l WHERE l.id = of_lane;
    RETURN true;
END;
$$;

-- Notes that sessions of a tenant are erased, each up to a position. Notes are kept for longer than any delivery waits.
CREATE FUNCTION {schema}.note_erased(of_tenant text, sessions text[], untils bigint[])
RETURNS void LANGUAGE sql VOLATILE AS $$
    INSERT INTO {schema}.erased_sessions AS e
        SELECT {schema}.session_digest(of_tenant, s.session), max(s.until), clock_timestamp()
        FROM unnest(sessions, untils) AS s (session, until) GROUP BY 1
        ON CONFLICT (digest) DO UPDATE SET until = greatest(e.until, excluded.until), at = excluded.at;
    DELETE FROM {schema}.erased_sessions e WHERE e.at < clock_timestamp() - interval '30 days';
$$;

-- Removes deliveries of sessions, each up to a position, among the lane's next `limit_rows` after a position. Tells how
-- many there were, and where to go on; nothing at the end.
CREATE FUNCTION {schema}.erase_deliveries(
    of_lane bigint, sessions text[], untils bigint[], after bigint, limit_rows bigint,
    OUT erased bigint, OUT last_position bigint
) LANGUAGE plpgsql VOLATILE AS $$
DECLARE
    counted bigint[];
    gone record;
BEGIN
    counted := {schema}.lock_lane(of_lane);
    SELECT max(d.position) INTO last_position FROM (SELECT e.position FROM {schema}.deliveries e
        WHERE e.lane = of_lane AND e.position > after ORDER BY e.position LIMIT limit_rows) d;
    erased := 0;
    FOR gone IN DELETE FROM {schema}.deliveries d USING unnest(sessions, untils) AS s (session, until)
        WHERE d.lane = of_lane AND d.position > after AND d.position <= last_position AND d.session = s.session
            AND d.position <= s.until RETURNING d.position, d.status
    LOOP
        DELETE FROM {schema}.attempts a WHERE a.lane = of_lane AND a.position = gone.position;
        counted[gone.status + 1] := counted[gone.status + 1] - 1;
        erased := erased + 1;
    END LOOP;
    UPDATE {schema}.lanes l SET totals = counted WHERE l.id = of_lane AND erased > 0;
END;
$$;

-- What nodes ask of lanes that another node has. Not in the write-ahead log: after a crash nobody waits for an answer.
CREATE UNLOGGED TABLE {schema}.lane_requests (
    -- Chosen by whoever asks, who may have to ask again.
    id uuid PRIMARY KEY,
    lane bigint NOT NULL,
    until_taken timestamptz NOT NULL,
    is_taken boolean NOT NULL DEFAULT false,
    kind text NOT NULL,
    message uuid,
    after bigint,
    until bigint,
    status integer,
    session text,
    is_answered boolean NOT NULL DEFAULT false,
    count bigint NOT NULL DEFAULT 0,
    refusal text
);
ALTER TABLE {schema}.lane_requests ALTER COLUMN session SET STATISTICS 0;

-- Takes what waits for these lanes, each request once; removes what nobody fetched.
CREATE FUNCTION {schema}.take_requests(of_lanes bigint[]) RETURNS TABLE (
    id uuid, lane bigint, kind text, message uuid, after bigint, until bigint, status integer, session text
) LANGUAGE plpgsql VOLATILE AS $$
BEGIN
    IF NOT EXISTS (SELECT FROM {schema}.lane_requests) THEN
        RETURN;
    END IF;
    PERFORM set_config('synchronous_commit', 'off', true);
    DELETE FROM {schema}.lane_requests c WHERE c.until_taken < clock_timestamp() - interval '1 minute';
    RETURN QUERY UPDATE {schema}.lane_requests c SET is_taken = true
        WHERE NOT c.is_taken AND c.until_taken > clock_timestamp() AND c.lane = ANY (of_lanes)
        RETURNING c.id, c.lane, c.kind, c.message, c.after, c.until, c.status, c.session;
END;
$$;
