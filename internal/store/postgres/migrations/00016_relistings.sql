-- +goose Up

-- The threads whose entries in their participants' lists (user_threads) are being moved from one
-- minute to another: users up to through have the entry at to_minute, the others at from_minute.
-- The lock of the thread's head guards the row.
CREATE TABLE relistings (
    thread      text COLLATE "C" PRIMARY KEY,
    from_minute bigint NOT NULL,
    to_minute   bigint NOT NULL,
    through     text COLLATE "C" NOT NULL
) WITH (fillfactor = 50);
