-- Workers that are kept from trials, with the reason, and workers that nobody has seen for long.
ALTER TABLE workers ADD COLUMN quarantine TEXT;             -- why it gets no trials; NULL = it does
ALTER TABLE workers ADD COLUMN quarantined_ms INTEGER CHECK ((quarantined_ms IS NULL) = (quarantine IS NULL));
ALTER TABLE workers ADD COLUMN unfit INTEGER NOT NULL DEFAULT 0 CHECK (unfit IN (0, 1)); -- it said so itself
ALTER TABLE workers ADD COLUMN trusted_ms INTEGER NOT NULL DEFAULT 0; -- failures up to this moment are not held against it
ALTER TABLE workers ADD COLUMN served INTEGER NOT NULL DEFAULT 0 CHECK (served IN (0, 1));       -- trials name it
ALTER TABLE workers ADD COLUMN forgotten INTEGER NOT NULL DEFAULT 0 CHECK (forgotten IN (0, 1)); -- not shown; its row is used again if it never served
UPDATE workers SET trusted_ms = last_seen_ms, served = 1;
CREATE INDEX attempts_failed ON attempts (worker, ended_ms) WHERE reason IS NOT NULL;

PRAGMA user_version = 4;
