-- The log of one schema. Everything is written under one lock, by the functions in append.sql and remove.sql alone.

-- What the store is: one row.
CREATE TABLE {schema}.store (
    is_one boolean PRIMARY KEY DEFAULT true CHECK (is_one),
    -- Names this history.
    epoch bigint NOT NULL
);

-- Every history that the log had; the first names the log for ever.
CREATE TABLE {schema}.epochs (
    number integer PRIMARY KEY,
    epoch bigint NOT NULL UNIQUE,
    -- The epoch that this one replaced, and the one in which the node was that began it: usually the same.
    replaced bigint,
    known bigint,
    -- The last position that is certainly the same in this history and in the replaced ones.
    common bigint NOT NULL
);

-- How far the log is: one row. A counter and not a sequence, because a sequence has gaps and does not go back with
-- its transaction. Most of its page is left free: each append writes the row again beside itself.
CREATE TABLE {schema}.head (
    is_one boolean PRIMARY KEY DEFAULT true CHECK (is_one),
    -- Of the newest event, also when it was removed.
    position bigint NOT NULL,
    -- How often events were removed: a node that sees another number forgets what it holds of the log in memory.
    removals bigint NOT NULL
) WITH (fillfactor = 10);

CREATE TABLE {schema}.streams (
    stream bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    -- In the order of bytes, which is the order of names everywhere else.
    name text COLLATE "C" NOT NULL UNIQUE,
    -- The highest version that was truncated away: a stream without events goes on counting from there.
    removed bigint NOT NULL DEFAULT 0
);

CREATE TABLE {schema}.events (
    position bigint PRIMARY KEY,
    stream bigint NOT NULL,
    version bigint NOT NULL,
    id uuid NOT NULL,
    -- Texts are stored as their bytes in UTF-8: a text of the database cannot have a NUL.
    type bytea NOT NULL,
    schema integer NOT NULL,
    time bigint NOT NULL,
    causation bytea NOT NULL,
    actor bytea NOT NULL,
    data bytea NOT NULL,
    CONSTRAINT events_stream_version UNIQUE (stream, version)
);

-- Not unique: a repeat is the same ids in the same stream, and another stream may have them too.
CREATE INDEX events_id ON {schema}.events (id);

-- The planner's samples would keep values of rows that were removed.
ALTER TABLE {schema}.events
    ALTER COLUMN data SET STATISTICS 0,
    ALTER COLUMN causation SET STATISTICS 0,
    ALTER COLUMN actor SET STATISTICS 0;
ALTER TABLE {schema}.streams ALTER COLUMN name SET STATISTICS 0;

-- Whether the log is being filled from elsewhere: then it has one row, and no service opens the log.
CREATE TABLE {schema}.filling (
    is_one boolean PRIMARY KEY DEFAULT true CHECK (is_one),
    -- The epoch of the log that the events come from; absent when they come from lines.
    source bigint
);
