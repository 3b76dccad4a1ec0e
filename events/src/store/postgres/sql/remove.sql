-- Removes the oldest events of a stream: those below a version, or without one all, and then the stream too. At most
-- `step` at a time, so that appends come in between; tells whether there are more.
CREATE FUNCTION {schema}.remove(stream_name text, before bigint, step bigint)
RETURNS boolean LANGUAGE plpgsql VOLATILE AS $$
DECLARE
    found_stream bigint;
    oldest bigint;
    newest bigint;
    target bigint;
    reached bigint;
BEGIN
    PERFORM pg_advisory_xact_lock({lock});
    SELECT s.stream, s.removed INTO found_stream, newest FROM {schema}.streams s
        WHERE s.name = stream_name COLLATE "C";
    IF NOT FOUND THEN
        -- What the standby may not have yet, see `append`.
        PERFORM pg_logical_emit_message(true, 'amoiq', 'repeat');
        RETURN false;
    END IF;
    SELECT e.version INTO oldest FROM {schema}.events e WHERE e.stream = found_stream ORDER BY e.version LIMIT 1;
    SELECT coalesce(max(e.version), newest) INTO newest FROM {schema}.events e WHERE e.stream = found_stream;
    target := least(newest, before - 1);
    reached := least(target, oldest + step - 1);
    DELETE FROM {schema}.events e WHERE e.stream = found_stream AND e.version <= reached;
    IF NOT FOUND AND before IS NOT NULL THEN
        PERFORM pg_logical_emit_message(true, 'amoiq', 'repeat');
        RETURN false;
    END IF;
    IF before IS NULL AND reached = newest THEN
        DELETE FROM {schema}.streams s WHERE s.stream = found_stream;
    ELSE
        UPDATE {schema}.streams s SET removed = reached WHERE s.stream = found_stream;
    END IF;
    UPDATE {schema}.head SET removals = removals + 1;
    RETURN reached < target;
END;
$$;
