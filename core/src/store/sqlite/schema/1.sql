CREATE TABLE centralita_schema (
    version   INTEGER PRIMARY KEY,
    appliedAt INTEGER NOT NULL
);

CREATE TABLE sessions (
    sessionId             TEXT NOT NULL PRIMARY KEY,
    name                  TEXT NOT NULL,
    phone                 TEXT,
    isConnected           INTEGER NOT NULL,
    lastActivity          INTEGER NOT NULL,
    qrCode                TEXT,
    status                TEXT NOT NULL,
    statusDetail          TEXT,
    connectionAttempts    INTEGER NOT NULL,
    lastConnectionAttempt INTEGER,
    lastDisconnectReason  TEXT,
    messagesSent          INTEGER NOT NULL,
    messagesReceived      INTEGER NOT NULL,
    totalChats            INTEGER NOT NULL,
    memoryUsage           REAL NOT NULL,
    lastHealthCheck       INTEGER NOT NULL,
    isActive              INTEGER NOT NULL,
    userAgent             TEXT,
    platform              TEXT,
    version               TEXT,
    createdAt             INTEGER NOT NULL,
    updatedAt             INTEGER NOT NULL
) WITHOUT ROWID;
CREATE INDEX sessions_connected ON sessions (isConnected, isActive);
CREATE INDEX sessions_status ON sessions (status);
CREATE INDEX sessions_activity ON sessions (lastActivity DESC, sessionId);

CREATE TABLE authstates (
    sessionId  TEXT NOT NULL PRIMARY KEY,
    creds      BLOB NOT NULL,
    generation INTEGER NOT NULL,
    updatedAt  INTEGER NOT NULL
) WITHOUT ROWID;

CREATE TABLE authkeys (
    sessionId  TEXT NOT NULL,
    type       TEXT NOT NULL,
    id         TEXT NOT NULL,
    value      BLOB NOT NULL,
    stamp      INTEGER NOT NULL,
    generation INTEGER NOT NULL,
    updatedAt  INTEGER NOT NULL,
    PRIMARY KEY (sessionId, type, id)
) WITHOUT ROWID;

CREATE TABLE autharchives (
    sessionId  TEXT NOT NULL,
    type       TEXT NOT NULL,
    id         TEXT NOT NULL,
    value      BLOB NOT NULL,
    reason     TEXT NOT NULL,
    archivedAt INTEGER NOT NULL,
    PRIMARY KEY (sessionId, type, id)
) WITHOUT ROWID;

CREATE TABLE leases (
    sessionId  TEXT NOT NULL PRIMARY KEY,
    owner      TEXT NOT NULL,
    generation INTEGER NOT NULL,
    fence      INTEGER NOT NULL,
    fencedTo   INTEGER NOT NULL DEFAULT 0,
    expiresAt  INTEGER NOT NULL
) WITHOUT ROWID;

CREATE TABLE messages (
    sessionId   TEXT NOT NULL,
    chatId      TEXT NOT NULL,
    sender      TEXT NOT NULL,
    messageId   TEXT NOT NULL,
    direction   TEXT NOT NULL,
    fromMe      INTEGER NOT NULL,
    timestamp   INTEGER NOT NULL,
    senderName  TEXT,
    content     TEXT NOT NULL,
    status      INTEGER NOT NULL,
    editedAt    INTEGER,
    revokedAt   INTEGER,
    fromHistory INTEGER NOT NULL,
    arrival     INTEGER NOT NULL,
    createdAt   INTEGER NOT NULL,
    updatedAt   INTEGER NOT NULL,
    PRIMARY KEY (sessionId, chatId, sender, messageId)
) WITHOUT ROWID;
CREATE INDEX messages_by_time ON messages (sessionId, timestamp, arrival, chatId, sender, messageId);
CREATE INDEX messages_by_chat ON messages (sessionId, chatId, timestamp, arrival, sender, messageId);

CREATE TABLE chats (
    sessionId     TEXT NOT NULL,
    chatId        TEXT NOT NULL,
    name          TEXT,
    isGroup       INTEGER NOT NULL,
    lastMessageAt INTEGER,
    unreadCount   INTEGER NOT NULL,
    createdAt     INTEGER NOT NULL,
    updatedAt     INTEGER NOT NULL,
    PRIMARY KEY (sessionId, chatId)
) WITHOUT ROWID;
CREATE INDEX chats_by_time ON chats (sessionId, lastMessageAt DESC, chatId);

CREATE TABLE events (
    sessionId TEXT NOT NULL,
    seq       INTEGER NOT NULL,
    key       TEXT NOT NULL,
    at        INTEGER NOT NULL,
    payload   TEXT NOT NULL,
    PRIMARY KEY (sessionId, seq)
) WITHOUT ROWID;
CREATE UNIQUE INDEX events_by_key ON events (sessionId, key);

CREATE TABLE consumers (
    name      TEXT NOT NULL PRIMARY KEY,
    createdAt INTEGER NOT NULL
) WITHOUT ROWID;

CREATE TABLE positions (
    consumer  TEXT NOT NULL,
    sessionId TEXT NOT NULL,
    seq       INTEGER NOT NULL,
    updatedAt INTEGER NOT NULL,
    PRIMARY KEY (consumer, sessionId)
) WITHOUT ROWID;
CREATE INDEX positions_by_session ON positions (sessionId);

CREATE TABLE deadletters (
    consumer  TEXT NOT NULL,
    sessionId TEXT NOT NULL,
    seq       INTEGER NOT NULL,
    at        INTEGER NOT NULL,
    payload   TEXT NOT NULL,
    attempts  INTEGER NOT NULL,
    error     TEXT NOT NULL,
    failedAt  INTEGER NOT NULL,
    replay    INTEGER NOT NULL,
    PRIMARY KEY (consumer, sessionId, seq)
) WITHOUT ROWID;
CREATE INDEX deadletters_by_session ON deadletters (sessionId);
