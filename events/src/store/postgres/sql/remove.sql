-- Removes the oldest events of a stream: those below a version, or without one all, and then the stream too. At most
-- `step` at a time, so that appends come in between; tells whether there are more. It commits by itself, see `append`.
CREATE PROCEDURE {schema}.remove(stream_name text, before bigint, step bigint, OUT has_more boolean)
LANGUAGE plpgsql AS $$
DECLARE
    found_stream bigint;
    oldest bigint;
    newest bigint;
    target bigint;
    reached bigint;
    is_changed boolean := false;
BEGIN
    PERFORM pg_advisory_xact_lock({lock});
    SELECT s.stream, s.removed INTO found_stream, newest FROM {schema}.streams s
        WHERE s.name = stream_name COLLATE "C";
    has_more := false;
    IF FOUND THEN
        SELECT e.version INTO oldest FROM {schema}.events e WHERE e.stream = found_stream
            ORDER BY e.version LIMIT 1;
        SELECT coalesce(max(e.version), newest) INTO newest FROM {schema}.events e WHERE e.stream = found_stream;
        target := least(newest, before - 1);
        reached := least(target, oldest + step - 1);
        DELETE FROM {schema}.events e WHERE e.stream = found_stream AND e.version <= reached;
        is_changed := FOUND OR before IS NULL;
    END IF;
    IF NOT is_changed THEN
        -- What the standby may not have yet, see `append`.
        PERFORM pg_logical_emit_message(true, 'amoiq', 'repeat');
    ELSE
        IF before IS NULL AND reached = newest THEN
            DELETE FROM {schema}.streams s WHERE s.stream = found_stream;
        ELSE
            UPDATE {schema}.streams s SET removed = reached WHERE s.stream = found_stream;
        END IF;
        UPDATE {schema}.head SET removals = removals + 1;
        has_more := reached < target;
    END IF;
    COMMIT;
END;
$$;
