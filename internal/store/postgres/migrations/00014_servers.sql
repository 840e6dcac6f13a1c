-- +goose Up

-- A row for each server of this database, which it renews every few seconds: what the operator's
-- overview shows. Nothing else reads it. seen is by the database's clock, in epoch milliseconds.
CREATE TABLE servers (
    id      text   COLLATE "C" PRIMARY KEY,
    version text   COLLATE "C" NOT NULL,
    started bigint NOT NULL,
    seen    bigint NOT NULL
) WITH (fillfactor = 50);
