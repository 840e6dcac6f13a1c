-- +goose Up

-- Servers of an earlier version may still run. While a migration waits for a lock, their queries
-- wait behind it: give up after some time.
SET LOCAL lock_timeout = '10s';

-- By which request a message was sent: half of a hash of the caller and the client's request id,
-- and half of one of the command. NULL: the client has sent no such id, or an idempotency token,
-- or the message was sent by an earlier version. No row is rewritten.
ALTER TABLE messages ADD COLUMN fingerprint bytea;
