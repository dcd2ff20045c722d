-- What people did to a sweep, and what it did by itself: who, when, what changed. Edits of the spec are told here; what counts is the
-- spec of the sweep's row, from which and from `history` a plan is made.
ALTER TABLE sweeps ADD COLUMN spec_version INTEGER NOT NULL DEFAULT 1 CHECK (spec_version >= 1); -- edits + 1

CREATE TABLE changes (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        sweep INTEGER NOT NULL REFERENCES sweeps (id) ON DELETE CASCADE,
        at_ms INTEGER NOT NULL,
        who TEXT,                                  -- the token's name, '' without authentication; NULL = the coordinator
        what TEXT NOT NULL,
        last_number INTEGER NOT NULL CHECK (last_number >= 0), -- of the trials before it
        detail TEXT NOT NULL                       -- JSON
) STRICT;
CREATE INDEX changes_by_sweep ON changes (sweep, id);

PRAGMA user_version = 5;
