-- What webhooks are to be told: written with the change that it tells of, gone through by a thread of its own.
CREATE TABLE webhooks (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        sweep INTEGER NOT NULL REFERENCES sweeps (id) ON DELETE CASCADE,
        event TEXT NOT NULL,
        url TEXT NOT NULL,
        body TEXT NOT NULL,                         -- JSON
        created_ms INTEGER NOT NULL,
        attempts INTEGER NOT NULL DEFAULT 0 CHECK (attempts >= 0),
        due_ms INTEGER                              -- of the next attempt; NULL = delivered, or given up
) STRICT;
CREATE INDEX webhooks_due ON webhooks (due_ms) WHERE due_ms IS NOT NULL;
CREATE INDEX webhooks_by_sweep ON webhooks (sweep);

PRAGMA user_version = 6;
