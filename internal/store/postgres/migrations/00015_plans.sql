-- +goose Up

-- Servers of an earlier version may still run. While a migration waits for a lock, their queries
-- wait behind it: give up after some time.
SET LOCAL lock_timeout = '10s';

-- The statements in these functions are planned once for a connection, whatever their parameters
-- and whatever plan_cache_mode the session has. Otherwise each call would plan them again, which
-- takes longer than their execution.
ALTER FUNCTION place_batches(integer, bigint[], bigint[]) SET plan_cache_mode = force_generic_plan;
ALTER FUNCTION first_event_after(text, bigint, bigint) SET plan_cache_mode = force_generic_plan;
