-- +goose Up

-- Threads that a retention policy ends, by that time. None of its columns
-- changes with a message.
CREATE INDEX heads_ending ON heads ((created_on + retention_days::bigint * 86400000), id)
    WHERE retention_days > 0 AND deleted_on = 0;
