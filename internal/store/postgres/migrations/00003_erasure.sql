-- +goose Up

-- How far the erasure of a user has come: a thread of its list, in the order of ids.
ALTER TABLE users ADD COLUMN erased_to text COLLATE "C" NOT NULL DEFAULT '';
