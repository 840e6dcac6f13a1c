-- +goose Up

-- The metadata and the retention policy that a thread had when a member left it. Those of
-- members who have left already are not known. Without the default, a server of an
-- earlier version that is still running fails to write members: it would keep these
-- columns as they are when a member comes back.
ALTER TABLE members ADD COLUMN left_metadata bytea, ADD COLUMN left_retention_days integer NOT NULL DEFAULT 0;
ALTER TABLE members ALTER COLUMN left_retention_days DROP DEFAULT;
