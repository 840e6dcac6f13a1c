-- +goose Up

-- A run may place no batch and then has the same last as the one before, so runs are
-- numbered. The default is for servers of an earlier version that are still running and
-- import.
ALTER TABLE runs ADD COLUMN n bigint NOT NULL DEFAULT 0;

UPDATE runs SET n = numbered.n FROM (SELECT last, row_number() OVER (ORDER BY last) AS n FROM runs) numbered
WHERE numbered.last = runs.last;

ALTER TABLE runs DROP CONSTRAINT runs_pkey;
ALTER TABLE runs ADD PRIMARY KEY (n);

DROP FUNCTION place_batches(integer, bigint[]);

-- place_batches gives positions to committed batches that have none, in the order of
-- their numbers, and returns them. It considers the missing numbers of the newest run,
-- up to most numbers above its high, and those of also. It no longer looks for the
-- numbers of unused, whose transactions have ended without a batch of that number.
--
-- It first takes a lock, and then looks in a second statement, which sees the rows that
-- the last holder of the lock has committed. The settings keep its plans from scanning a
-- table that was small when the plan was made, and from being compiled, which would take
-- longer than the whole call.
-- +goose StatementBegin
CREATE FUNCTION place_batches(most integer, also bigint[], unused bigint[] DEFAULT '{}') RETURNS SETOF log LANGUAGE plpgsql VOLATILE
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

    SELECT * INTO run FROM runs ORDER BY n DESC LIMIT 1;
    IF NOT FOUND THEN
        run := (0, 0, '{}', '{}', 0);
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
    IF placed IS NULL AND NOT EXISTS (SELECT FROM unnest(run.missing) m JOIN unnest(unused) u ON m = u) THEN
        RETURN;
    END IF;

    -- A number that is missing for ten minutes was rolled back: no transaction lasts that
    -- long. Of very many missing numbers only the greatest are kept.
    top := greatest(run.high, (SELECT max(n) FROM unnest(placed) n));
    INSERT INTO runs (n, last, high, missing, missed_at)
    SELECT run.n + 1, coalesce((SELECT max(l.last) FROM log l), run.last), top, coalesce(array_agg(m.n ORDER BY m.n), '{}'), coalesce(array_agg(m.since ORDER BY m.n), '{}')
    FROM (
        SELECT n, since FROM unnest(run.missing, run.missed_at) AS known (n, since) WHERE since > now_ms - 600000
        UNION ALL
        SELECT n, now_ms FROM generate_series(greatest(run.high + 1, top - 10000), top) n
    ) m
    WHERE NOT EXISTS (SELECT FROM unnest(placed || unused) p WHERE p = m.n);
    RETURN QUERY SELECT l.* FROM log l WHERE l.last > run.last ORDER BY l.last;
END $$;
-- +goose StatementEnd
