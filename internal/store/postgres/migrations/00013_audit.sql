-- +goose Up

-- Servers of an earlier version may still run. While a migration waits for a lock, their queries
-- wait behind it: give up after some time.
SET LOCAL lock_timeout = '10s';

-- Who did what through the operator's API, from where, and with which outcome. Rows of refused
-- attempts are limited in bytes, the others by their age alone. at is in epoch milliseconds.
CREATE TABLE audit (
    refused   boolean NOT NULL,
    at        bigint  NOT NULL,
    number    bigint  NOT NULL,
    who       text COLLATE "C" NOT NULL,
    kind      text COLLATE "C" NOT NULL,
    role      text COLLATE "C" NOT NULL,
    client    text COLLATE "C" NOT NULL,
    operation text COLLATE "C" NOT NULL,
    target    text COLLATE "C" NOT NULL,
    outcome   text COLLATE "C" NOT NULL,
    status    integer NOT NULL,
    request   text COLLATE "C" NOT NULL,
    attempts  bigint  NOT NULL,
    PRIMARY KEY (refused, at, number)
);

-- The order in which pages list them.
CREATE INDEX audit_in_order ON audit (at, number);
