-- Begins a new epoch for a caller whose newest event is not in the log, and tells which epoch the log has then. Of several
-- nodes that notice the same loss the first call begins it.
--
-- `positions` and `ids` name events that the caller knows. The newest that the log has is the last position that is
-- certainly the same in both histories: at most what it really is, so that nobody who goes back there misses an event.
--
-- It commits by itself, see `append`.
CREATE PROCEDURE {schema}.begin_epoch(
    known_epoch bigint, known_position bigint, known_id uuid, positions bigint[], ids uuid[], new_epoch bigint,
    OUT epoch bigint
)
LANGUAGE plpgsql AS $$
DECLARE
    same bigint;
    is_settled boolean := true;
BEGIN
    PERFORM pg_advisory_xact_lock({lock});
    SELECT s.epoch INTO epoch FROM {schema}.store s;
    SELECT min(e.common) INTO same FROM {schema}.epochs e WHERE e.number >=
        (SELECT min(r.number) FROM {schema}.epochs r WHERE known_epoch IN (r.replaced, r.known));
    -- Another node began one for the same loss. When the caller lost more than that, it needs one of its own.
    IF same IS NOT NULL AND NOT EXISTS (
        SELECT FROM unnest(positions, ids) AS k (position, id)
            JOIN {schema}.events e ON e.position = k.position AND e.id <> k.id WHERE k.position <= same
    ) THEN
        -- What the standby may not have yet, see `append`.
        PERFORM pg_logical_emit_message(true, 'amoiq', 'repeat');
    ELSE
        BEGIN
            PERFORM {schema}.check_history(known_epoch, known_position, known_id);
        EXCEPTION WHEN SQLSTATE 'AMQ01' THEN
            is_settled := false;
        END;
    END IF;
    IF NOT is_settled THEN
        SELECT coalesce(max(e.position), 0) INTO same FROM unnest(positions, ids) AS k (position, id)
            JOIN {schema}.events e ON e.position = k.position AND e.id = k.id;
        INSERT INTO {schema}.epochs (number, epoch, replaced, known, common)
            SELECT max(e.number) + 1, new_epoch, begin_epoch.epoch, known_epoch, same FROM {schema}.epochs e;
        UPDATE {schema}.store SET epoch = new_epoch;
        epoch := new_epoch;
    END IF;
    COMMIT;
END;
$$;
