-- +goose Up

-- Ids and texts are compared byte by byte, as the embedded engine does and
-- whatever locale the database was made with.

CREATE TABLE meta (
    name  text COLLATE "C" PRIMARY KEY,
    value text NOT NULL
);

CREATE TABLE access_keys (
    index  smallint PRIMARY KEY,
    serial bigint   NOT NULL,
    secret bytea    NOT NULL
);

CREATE TABLE users (
    id         text COLLATE "C" PRIMARY KEY,
    state      smallint NOT NULL,
    deleted_at bigint   NOT NULL,
    generation bigint   NOT NULL
);

CREATE INDEX users_deleting ON users (id) WHERE state = 2;

-- Nothing that changes with a message is indexed and a page keeps room, so that
-- the update of a head stays on its page and touches no index (HOT).
CREATE TABLE heads (
    id              text COLLATE "C" PRIMARY KEY,
    revision        bigint   NOT NULL,
    topic           text COLLATE "C" NOT NULL,
    created_by      text COLLATE "C" NOT NULL,
    created_on      bigint   NOT NULL,
    deleted_on      bigint   NOT NULL,
    metadata        bytea,
    retention_days  integer  NOT NULL,
    last_id         bigint   NOT NULL,
    last_sequence   bigint   NOT NULL,
    last_event      bigint   NOT NULL,
    last_position   bigint   NOT NULL,
    last_message_on bigint   NOT NULL,
    last_day        integer  NOT NULL
) WITH (fillfactor = 70);

CREATE TABLE members (
    thread        text COLLATE "C" NOT NULL,
    user_id       text COLLATE "C" NOT NULL,
    display_name  text COLLATE "C" NOT NULL,
    share_history bigint  NOT NULL,
    joined_on     bigint  NOT NULL,
    joining_order bigint  NOT NULL,
    intervals     bytea   NOT NULL,
    metadata      bytea,
    left_on       bigint,
    left_sequence bigint  NOT NULL,
    left_topic    text COLLATE "C" NOT NULL,
    PRIMARY KEY (thread, user_id)
);

CREATE TABLE messages (
    thread       text COLLATE "C" NOT NULL,
    sequence     bigint   NOT NULL,
    id           bigint   NOT NULL,
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
    PRIMARY KEY (thread, sequence),
    UNIQUE (thread, id)
);

CREATE TABLE sent (
    thread     text COLLATE "C" NOT NULL,
    caller     text COLLATE "C" NOT NULL,
    token      text COLLATE "C" NOT NULL,
    message_id bigint NOT NULL,
    PRIMARY KEY (thread, caller, token)
);

CREATE TABLE answers (
    thread         text COLLATE "C" PRIMARY KEY,
    topic          text COLLATE "C" NOT NULL,
    created_by     text COLLATE "C" NOT NULL,
    created_on     bigint  NOT NULL,
    metadata       bytea,
    retention_days integer NOT NULL,
    invalid        bytea
);

CREATE TABLE receipts (
    thread     text COLLATE "C" NOT NULL,
    user_id    text COLLATE "C" NOT NULL,
    message_id bigint NOT NULL,
    read_on    bigint NOT NULL,
    PRIMARY KEY (thread, user_id)
);

CREATE TABLE user_threads (
    user_id text COLLATE "C" NOT NULL,
    minute  bigint NOT NULL,
    thread  text COLLATE "C" NOT NULL,
    PRIMARY KEY (user_id, minute, thread)
);

CREATE TABLE events (
    day        integer  NOT NULL,
    thread     text COLLATE "C" NOT NULL,
    number     bigint   NOT NULL,
    position   bigint   NOT NULL,
    kind       smallint NOT NULL,
    message_id bigint   NOT NULL,
    version    bigint   NOT NULL,
    actor      text COLLATE "C" NOT NULL,
    PRIMARY KEY (day, thread, number)
) PARTITION BY RANGE (day);

CREATE INDEX events_position ON events (position);

-- The number of the last batch of each lane of each process: what is asked
-- after a connection was lost during COMMIT.
CREATE TABLE writers (
    id    text COLLATE "C" PRIMARY KEY,
    batch bigint      NOT NULL,
    at    timestamptz NOT NULL DEFAULT now()
) WITH (fillfactor = 30);
