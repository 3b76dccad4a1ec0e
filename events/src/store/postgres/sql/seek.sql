-- The position after which every event up to `upto` has at least the time `wanted`. Events are in the order in which
-- they were appended and carry the time at which they were decided, which differ by less than `jitter`: so a place is
-- found by bisection, and the events close after it are looked at one by one.
CREATE FUNCTION {schema}.position_at(wanted bigint, upto bigint, jitter bigint)
RETURNS bigint LANGUAGE plpgsql STABLE AS $$
DECLARE
    low bigint := 0;
    high bigint := upto;
    middle bigint;
    event record;
    place bigint;
BEGIN
    WHILE low < high LOOP
        middle := low + (high - low) / 2;
        SELECT e.position, e.time INTO event FROM {schema}.events e
            WHERE e.position > middle ORDER BY e.position LIMIT 1;
        IF FOUND AND event.time < wanted THEN
            low := event.position;
        ELSE
            high := middle;
        END IF;
    END LOOP;
    place := low;
    FOR event IN SELECT e.position, e.time FROM {schema}.events e
        WHERE e.position > low AND e.position <= upto ORDER BY e.position
    LOOP
        EXIT WHEN event.time >= wanted + jitter;
        IF event.time < wanted THEN
            place := event.position;
        END IF;
    END LOOP;
    RETURN place;
END;
$$;
