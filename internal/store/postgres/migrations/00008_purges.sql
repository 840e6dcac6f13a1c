-- +goose Up

-- The deleted threads that still have messages, send tokens or receipts: more than one
-- batch may delete. They are deleted page by page, and no reader sees them meanwhile.
CREATE TABLE purges (
    thread text PRIMARY KEY
);
