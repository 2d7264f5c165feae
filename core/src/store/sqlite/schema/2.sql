CREATE TABLE outbox (
    sessionId  TEXT NOT NULL,
    messageId  TEXT NOT NULL,
    position   INTEGER NOT NULL,
    content    TEXT NOT NULL,
    state      TEXT NOT NULL,
    attempts   INTEGER NOT NULL,
    generation INTEGER NOT NULL,
    queuedAt   INTEGER NOT NULL,
    expiresAt  INTEGER NOT NULL
);
CREATE UNIQUE INDEX outbox_by_message ON outbox (sessionId, messageId);
CREATE UNIQUE INDEX outbox_in_order ON outbox (sessionId, position);
CREATE INDEX outbox_by_expiry ON outbox (sessionId, expiresAt);
