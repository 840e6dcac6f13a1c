-- +goose Up

-- A server that is still running locks heads before events. In the other order it and
-- this migration could wait for each other.
LOCK TABLE heads IN EXCLUSIVE MODE;

-- The time of an event, and the random number of its batch, which tells the event from
-- another one at the same position. Without the default, a server of an earlier version
-- that is still running fails to write: its events would not get into the log.
ALTER TABLE events ADD COLUMN at bigint NOT NULL DEFAULT 0, ADD COLUMN batch_check bigint NOT NULL DEFAULT 0;
ALTER TABLE events ALTER COLUMN at DROP DEFAULT;

-- A thread's events are read in the order of their numbers.
ALTER TABLE events DROP CONSTRAINT events_pkey;
ALTER TABLE events ADD PRIMARY KEY (thread, number, day);

-- Numbers of batches. A server draws one while it holds the rows that its batch changes.
-- With a larger cache a session could keep numbers and use them after greater ones.
CREATE SEQUENCE batch_numbers CACHE 1;

-- Committed batches with events. The column position of events and last_position of
-- heads are places: number * 2^20 + the event's number in its batch.
CREATE TABLE batches (
    number      bigint PRIMARY KEY,
    events      integer NOT NULL,
    batch_check bigint  NOT NULL,
    day         integer NOT NULL
);

-- The event log: its batches in their order. The events of a batch have the positions
-- last - events + 1 to last. Rows are never updated, and the last one is never deleted.
CREATE TABLE log (
    last        bigint  PRIMARY KEY,
    batch       bigint  NOT NULL UNIQUE,
    events      integer NOT NULL,
    batch_check bigint  NOT NULL,
    day         integer NOT NULL
);

CREATE INDEX log_day ON log USING brin (day) WITH (autosummarize = on);

-- A row for each call of place_batches that placed a batch; only the newest is read.
-- last is the end of the log after that call, high the greatest number that has a
-- position, missing the lesser numbers that were drawn and not committed, and missed_at
-- the times, in epoch milliseconds, at which each was first seen to be missing.
CREATE TABLE runs (
    last      bigint   PRIMARY KEY,
    high      bigint   NOT NULL,
    missing   bigint[] NOT NULL,
    missed_at bigint[] NOT NULL
);

-- The position of the last event that was deleted from the log, and its check. Always
-- one row.
CREATE TABLE log_floor (
    one         boolean PRIMARY KEY DEFAULT true CHECK (one),
    position    bigint  NOT NULL,
    batch_check bigint  NOT NULL
);

INSERT INTO log_floor (position, batch_check) VALUES (0, 0);

-- Events that exist had the position (transaction id << 20) + their number in the
-- transaction, and imported ones 1, 2, 3. The log keeps their order. A transaction
-- becomes a batch, or several if it has events of several days or very many.
CREATE TEMPORARY TABLE old_batches ON COMMIT DROP AS
SELECT batch, day, half, events, sum(events) OVER ordered AS last, row_number() OVER ordered AS number
FROM (SELECT position >> 20 AS batch, day, (position >> 19) & 1 AS half, count(*) AS events FROM events GROUP BY 1, 2, 3) old
WINDOW ordered AS (ORDER BY batch, day, half);

-- If each transaction is one batch, its id stays the number, so that most rows of
-- events stay as they are.
UPDATE old_batches SET number = batch WHERE (SELECT min(batch) > 0 AND count(*) = count(DISTINCT batch) FROM old_batches);

UPDATE events e SET position = n.position
FROM (
    SELECT e.day, e.thread, e.number, (b.number << 20) + row_number() OVER (PARTITION BY b.number ORDER BY e.position) AS position
    FROM events e JOIN old_batches b ON b.batch = e.position >> 20 AND b.day = e.day AND b.half = (e.position >> 19) & 1
) n
WHERE e.day = n.day AND e.thread = n.thread AND e.number = n.number AND e.position <> n.position;

UPDATE heads h SET last_position = e.position FROM events e
WHERE e.thread = h.id AND e.number = h.last_event AND e.position <> h.last_position;

INSERT INTO batches (number, events, batch_check, day) SELECT number, events, 0, day FROM old_batches;

INSERT INTO log (last, batch, events, batch_check, day) SELECT last, number, events, 0, day FROM old_batches;

INSERT INTO runs (last, high, missing, missed_at)
SELECT coalesce((SELECT max(last) FROM log), 0),
    greatest(0, (SELECT max(number) FROM batches), (SELECT max(last_position >> 20) FROM heads)), '{}', '{}';

SELECT setval('batch_numbers', high) FROM runs WHERE high > 0;

-- place_batches gives positions to committed batches that have none, in the order of
-- their numbers, and returns them. It considers the missing numbers of the newest run,
-- up to most numbers above its high, and those of also.
--
-- It first takes a lock, and then looks in a second statement, which sees the rows that
-- the last holder of the lock has committed. The settings keep its plans from scanning a
-- table that was small when the plan was made, and from being compiled, which would take
-- longer than the whole call.
-- +goose StatementBegin
CREATE FUNCTION place_batches(most integer, also bigint[]) RETURNS SETOF log LANGUAGE plpgsql VOLATILE
SET enable_seqscan = off SET enable_bitmapscan = off SET jit = off AS $$
DECLARE
    run    runs; -- the newest one
    placed bigint[];
    top    bigint;
    now_ms bigint := extract(epoch FROM clock_timestamp()) * 1000;
BEGIN
    IF pg_is_in_recovery() THEN
        RAISE EXCEPTION 'this server is a standby' USING ERRCODE = 'read_only_sql_transaction';
    END IF;
    IF current_setting('transaction_isolation') <> 'read committed' THEN
        RAISE EXCEPTION 'place_batches needs the isolation level read committed';
    END IF;
    PERFORM set_config('synchronous_commit', 'on', true) WHERE current_setting('synchronous_commit') = 'off';
    PERFORM set_config('lock_timeout', '3000', true);
    PERFORM pg_advisory_xact_lock(109330244723044); -- "confad"

    SELECT * INTO run FROM runs ORDER BY last DESC LIMIT 1;
    IF NOT FOUND THEN
        run := (0, 0, '{}', '{}');
    END IF;
    WITH found AS (
        SELECT b.* FROM batches b
        WHERE b.number = ANY (run.missing || also) AND b.number <= run.high AND NOT EXISTS (SELECT FROM log l WHERE l.batch = b.number)
        UNION ALL
        (SELECT b.* FROM batches b WHERE b.number > run.high ORDER BY b.number LIMIT most)
    ), added AS (
        INSERT INTO log (last, batch, events, batch_check, day)
        SELECT run.last + sum(f.events) OVER (ORDER BY f.number), f.number, f.events, f.batch_check, f.day FROM found f
        RETURNING batch
    )
    SELECT array_agg(batch) INTO placed FROM added;
    IF placed IS NULL THEN
        RETURN;
    END IF;

    -- A number that is missing for a minute was rolled back: no transaction lasts that
    -- long. Of very many missing numbers only the greatest are kept.
    top := greatest(run.high, (SELECT max(n) FROM unnest(placed) n));
    INSERT INTO runs (last, high, missing, missed_at)
    SELECT (SELECT max(l.last) FROM log l), top, coalesce(array_agg(m.n ORDER BY m.n), '{}'), coalesce(array_agg(m.since ORDER BY m.n), '{}')
    FROM (
        SELECT n, since FROM unnest(run.missing, run.missed_at) AS known (n, since) WHERE since > now_ms - 60000
        UNION ALL
        SELECT n, now_ms FROM generate_series(greatest(run.high + 1, top - 10000), top) n
    ) m
    WHERE NOT EXISTS (SELECT FROM unnest(placed) p WHERE p = m.n);
    RETURN QUERY SELECT l.* FROM log l WHERE l.last > run.last ORDER BY l.last;
END $$;
-- +goose StatementEnd

-- event_position returns the position of a thread's event: 0 if the event was trimmed,
-- and the greatest number there is if the event has no position yet.
-- +goose StatementBegin
CREATE FUNCTION event_position(of_thread text, event bigint) RETURNS bigint LANGUAGE plpgsql STABLE AS $$
DECLARE
    place bigint;
    at    bigint;
BEGIN
    SELECT e.position INTO place FROM events e WHERE e.thread = of_thread AND e.number = event;
    SELECT l.last - l.events + (place & 1048575) INTO at FROM log l WHERE l.batch = place >> 20;
    IF at IS NULL AND EXISTS (SELECT FROM batches b WHERE b.number = place >> 20) THEN
        RETURN 9223372036854775807;
    END IF;
    RETURN coalesce(at, 0);
END $$;
-- +goose StatementEnd

-- first_event_after returns the number of a thread's first event with a position
-- greater than after, or NULL. newest is the number of its last event. As positions
-- ascend with the numbers, the function steps back from the newest event, each time
-- twice as far, until it meets an event that is not after the position. Then it halves
-- the distance between that event and the least one that is.
-- +goose StatementBegin
CREATE FUNCTION first_event_after(of_thread text, newest bigint, after bigint) RETURNS bigint LANGUAGE plpgsql STABLE AS $$
DECLARE
    low  bigint := 0;          -- not after
    high bigint := newest + 1; -- after, or past the newest
    step bigint := 1;
    n    bigint;
BEGIN
    WHILE high - low > 1 LOOP
        n := CASE low WHEN 0 THEN greatest(high - step, 1) ELSE (low + high) / 2 END;
        IF event_position(of_thread, n) > after THEN
            high := n;
        ELSE
            low := n;
        END IF;
        step := step * 2;
    END LOOP;
    IF high > newest OR event_position(of_thread, high) = 9223372036854775807 THEN
        RETURN NULL;
    END IF;
    RETURN high;
END $$;
-- +goose StatementEnd
