-- +goose Up

-- Servers of an earlier version may still run. While a migration waits for a lock, their queries
-- wait behind it: give up after some time.
SET LOCAL lock_timeout = '10s';

-- The app's own id of a user, and when the last access token was issued to the user, in epoch
-- milliseconds. A server of an earlier version that is still running does not erase them when
-- it deletes a user: it must be stopped.
ALTER TABLE users ADD COLUMN custom_id text COLLATE "C" NOT NULL DEFAULT '';
ALTER TABLE users ADD COLUMN token_issued_at bigint NOT NULL DEFAULT 0;

-- No two users have the same custom id.
CREATE UNIQUE INDEX users_custom_id ON users (custom_id) WHERE custom_id <> '';
