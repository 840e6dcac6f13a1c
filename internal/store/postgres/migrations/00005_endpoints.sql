-- +goose Up

-- Clients of the official protocol, each with the cursor up to which it has answered.
-- No changing column is indexed and a page keeps room, so that the update of a row stays
-- on its page and touches no index (HOT).
CREATE TABLE endpoints (
    user_id     text COLLATE "C" NOT NULL,
    id          text COLLATE "C" NOT NULL,
    epoch       text COLLATE "C" NOT NULL,
    position    bigint NOT NULL,
    batch_check bigint NOT NULL,
    seen        bigint NOT NULL,
    PRIMARY KEY (user_id, id)
) WITH (fillfactor = 70);
