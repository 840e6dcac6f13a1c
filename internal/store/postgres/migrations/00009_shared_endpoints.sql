-- +goose Up

-- Which server has the socket of a client, and which events after the position the client
-- has answered already. Another server to which the client comes back sets called; the
-- owner looks for that.
ALTER TABLE endpoints
    ADD COLUMN answered bytea,
    ADD COLUMN owner text COLLATE "C" NOT NULL DEFAULT '',
    ADD COLUMN open boolean NOT NULL DEFAULT false,
    ADD COLUMN called boolean NOT NULL DEFAULT false;

CREATE INDEX endpoints_called ON endpoints (owner) WHERE called;
