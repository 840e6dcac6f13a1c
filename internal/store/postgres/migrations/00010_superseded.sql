-- +goose Up

-- Versions of messages that were edited or deleted, for those who had left the thread before.
-- A deleted message is a tombstone here. until is the sequence of the version that replaced
-- it. A server of an earlier version that is still running keeps none, and neither deletes
-- them with their thread nor makes tombstones of them: it must be stopped.
CREATE TABLE superseded (
    thread       text COLLATE "C" NOT NULL,
    id           bigint   NOT NULL,
    sequence     bigint   NOT NULL,
    until        bigint   NOT NULL,
    version      bigint   NOT NULL,
    kind         smallint NOT NULL,
    created_on   bigint   NOT NULL,
    edited_on    bigint   NOT NULL,
    deleted_on   bigint   NOT NULL,
    sender       text COLLATE "C" NOT NULL,
    sender_name  text COLLATE "C" NOT NULL,
    content      text COLLATE "C" NOT NULL,
    metadata     bytea,
    initiator    text COLLATE "C" NOT NULL,
    participants bytea,
    PRIMARY KEY (thread, id, sequence)
);

-- The order in which those who have left read them.
CREATE INDEX superseded_in_order ON superseded (thread, sequence, until);
