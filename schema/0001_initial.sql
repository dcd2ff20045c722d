-- Everything that a coordinator must not lose. Names in double braces are filled in by the migration runner from the state
-- tables of proto/state.h, so that a state that the code does not know can never be stored.
-- Times are milliseconds since 1970. Row ids only grow (AUTOINCREMENT): they are the order of creation, and cursors.

CREATE TABLE sweeps (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        public_id TEXT NOT NULL UNIQUE,
        state TEXT NOT NULL CHECK (state IN ({{sweep_states}})),
        name TEXT NOT NULL,
        method TEXT NOT NULL,
        spec TEXT NOT NULL,                        -- JSON as given
        seed INTEGER NOT NULL,                     -- the spec's, or the one that was drawn
        run_cap INTEGER NOT NULL CHECK (run_cap >= 0), -- 0 = none
        priority INTEGER NOT NULL,
        first_allowed_stage INTEGER NOT NULL,      -- stages up to this one may start (pause_after)
        model_sha256 TEXT,                         -- the spec's, or fixed by the first claim
        data_sha256 TEXT,
        stage TEXT,                                -- JSON, kept when the sweep comes to rest
        next_number INTEGER NOT NULL DEFAULT 1 CHECK (next_number >= 1),
        created_ms INTEGER NOT NULL
) STRICT;
CREATE INDEX sweeps_by_state ON sweeps (state, id);

CREATE TABLE workers (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        public_id TEXT NOT NULL UNIQUE,
        name TEXT NOT NULL UNIQUE,
        instance TEXT,
        slots INTEGER NOT NULL CHECK (slots >= 1),
        trainers TEXT NOT NULL,                    -- JSON array
        model TEXT,                                -- JSON as registered
        data TEXT,
        facts TEXT,
        model_sha256 TEXT,
        data_sha256 TEXT,
        draining INTEGER NOT NULL DEFAULT 0 CHECK (draining IN (0, 1)),
        registered_ms INTEGER NOT NULL,
        last_seen_ms INTEGER NOT NULL
) STRICT;

CREATE TABLE trials (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        public_id TEXT NOT NULL UNIQUE,
        sweep INTEGER NOT NULL REFERENCES sweeps (id) ON DELETE CASCADE,
        number INTEGER NOT NULL CHECK (number >= 1),
        state TEXT NOT NULL CHECK (state IN ({{trial_states}})),
        origin TEXT NOT NULL CHECK (origin IN ('proposed', 'enqueued', 'imported')),
        stage INTEGER NOT NULL CHECK (stage >= 0),
        params TEXT NOT NULL,                      -- JSON
        proposal TEXT NOT NULL,                    -- JSON: where it came from
        value REAL CHECK (value IS NULL OR state IN ('completed', 'stopped')),
        reason TEXT CHECK (reason IN ({{failure_reasons}})),
        detail TEXT,
        resume TEXT,                               -- JSON that the last release gave
        progress REAL,
        attempt INTEGER NOT NULL DEFAULT 0,        -- leases so far
        failures INTEGER NOT NULL DEFAULT 0,       -- retryable ends in the present allowance
        place INTEGER NOT NULL DEFAULT 0,          -- in the queue: 0 released, 1 requeued, 2 enqueued
        worker INTEGER REFERENCES workers (id),    -- of the running or last attempt, NULL while queued
        released_by INTEGER REFERENCES workers (id),
        released_ms INTEGER,
        created_ms INTEGER NOT NULL,
        started_ms INTEGER,
        finished_ms INTEGER,
        UNIQUE (sweep, number),
        CHECK ((state = 'failed') = (reason IS NOT NULL)),
        CHECK ((state IN ('queued', 'running')) = (finished_ms IS NULL))
) STRICT;
CREATE INDEX trials_by_state ON trials (sweep, state, id);
CREATE INDEX trials_queued ON trials (sweep, place, number) WHERE state = 'queued';
CREATE INDEX trials_released ON trials (released_ms) WHERE released_ms IS NOT NULL;
CREATE INDEX trials_by_value ON trials (sweep, value, number) WHERE value IS NOT NULL;
CREATE INDEX trials_by_worker ON trials (worker) WHERE state = 'running';

-- The retries of one claim get its first answer.
CREATE TABLE claims (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        worker INTEGER NOT NULL REFERENCES workers (id),
        claim_id TEXT NOT NULL,
        answer TEXT NOT NULL,
        created_ms INTEGER NOT NULL,
        UNIQUE (worker, claim_id)
) STRICT;
CREATE INDEX claims_by_age ON claims (created_ms);

-- One lease of a trial by one worker. ended_ms NULL = the lease is good. How it ended: a trial state, 'released', or
-- 'lost' (expired, or the worker came back as another process).
CREATE TABLE attempts (
        trial INTEGER NOT NULL REFERENCES trials (id) ON DELETE CASCADE,
        attempt INTEGER NOT NULL CHECK (attempt >= 1),
        worker INTEGER NOT NULL REFERENCES workers (id),
        claim INTEGER REFERENCES claims (id) ON DELETE SET NULL,
        lease TEXT NOT NULL UNIQUE,
        evaluator TEXT NOT NULL,                   -- JSON: what evaluates it (worker, model, data, facts)
        last_seq INTEGER NOT NULL DEFAULT 0,
        last_answer TEXT,                          -- JSON, for retries of last_seq
        started_ms INTEGER NOT NULL,
        ended_ms INTEGER,
        ended_as TEXT,
        reason TEXT CHECK (reason IN ({{failure_reasons}})),
        detail TEXT,
        abort_told INTEGER NOT NULL DEFAULT 0 CHECK (abort_told IN (0, 1)),
        PRIMARY KEY (trial, attempt),
        CHECK ((ended_ms IS NULL) = (ended_as IS NULL))
) STRICT, WITHOUT ROWID;
CREATE INDEX attempts_running ON attempts (worker, trial) WHERE ended_ms IS NULL;
CREATE INDEX attempts_by_claim ON attempts (claim) WHERE claim IS NOT NULL;

-- What a plan is made from, in order: trials that came to exist, ended, or were taken back into the queue by a retry.
-- A plan that is fed these rows again is the plan that it was. It also tells the value of a trial as of any moment,
-- so that a list sorted by value keeps its order from page to page.
CREATE TABLE history (
        seq INTEGER PRIMARY KEY AUTOINCREMENT,
        sweep INTEGER NOT NULL REFERENCES sweeps (id) ON DELETE CASCADE,
        trial INTEGER NOT NULL REFERENCES trials (id) ON DELETE CASCADE,
        added INTEGER NOT NULL CHECK (added IN (0, 1)),
        state TEXT NOT NULL CHECK (state IN ({{trial_states}})),
        value REAL
) STRICT;
CREATE INDEX history_by_sweep ON history (sweep, seq);
CREATE INDEX history_by_trial ON history (trial, seq);

CREATE TABLE metrics (
        trial INTEGER NOT NULL REFERENCES trials (id) ON DELETE CASCADE,
        step INTEGER NOT NULL,
        name TEXT NOT NULL,
        epoch REAL,
        value REAL NOT NULL,
        time_ms INTEGER NOT NULL,
        PRIMARY KEY (trial, step, name)
) STRICT, WITHOUT ROWID;
CREATE INDEX metrics_by_name ON metrics (trial, name, step);

CREATE TABLE idempotency_keys (
        path TEXT NOT NULL,
        token TEXT NOT NULL,
        key TEXT NOT NULL,
        body_sha256 TEXT NOT NULL,
        status INTEGER NOT NULL,
        answer TEXT NOT NULL,
        created_ms INTEGER NOT NULL,
        PRIMARY KEY (path, token, key)
) STRICT, WITHOUT ROWID;
CREATE INDEX idempotency_keys_by_age ON idempotency_keys (created_ms);

PRAGMA application_id = 0x73776570;
PRAGMA user_version = 1;
