-- Who may call, beside the token file. Secrets are never stored, only their SHA-256: they are 260 random bits each, so that
-- nobody finds one from its hash. Made and revoked by `sweepd token`, also beside a running server.
CREATE TABLE tokens (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        name TEXT NOT NULL UNIQUE,
        role TEXT NOT NULL CHECK (role IN ('admin', 'worker', 'viewer')),
        hash TEXT NOT NULL UNIQUE CHECK (length(hash) = 64),
        sweep TEXT,                                -- public id: good for this sweep only; NULL = all
        created_ms INTEGER NOT NULL,
        expires_ms INTEGER                         -- NULL = never
) STRICT;

-- One row that counts up with every change, so that a server sees in one read whether its copy is still right.
CREATE TABLE token_changes (n INTEGER NOT NULL) STRICT;
INSERT INTO token_changes VALUES (1);
CREATE TRIGGER tokens_inserted AFTER INSERT ON tokens BEGIN UPDATE token_changes SET n = n + 1; END;
CREATE TRIGGER tokens_updated AFTER UPDATE ON tokens BEGIN UPDATE token_changes SET n = n + 1; END;
CREATE TRIGGER tokens_deleted AFTER DELETE ON tokens BEGIN UPDATE token_changes SET n = n + 1; END;

PRAGMA user_version = 2;
