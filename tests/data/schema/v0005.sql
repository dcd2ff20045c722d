PRAGMA application_id = 1937204592;
PRAGMA user_version = 5;
BEGIN TRANSACTION;
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
        reason TEXT CHECK (reason IN ('lease_lost','crashed','out_of_memory','io','timeout','bad_checkpoint','diverged','bad_config','bad_model','bad_data','no_metric')),
        detail TEXT,
        abort_told INTEGER NOT NULL DEFAULT 0 CHECK (abort_told IN (0, 1)),
        PRIMARY KEY (trial, attempt),
        CHECK ((ended_ms IS NULL) = (ended_as IS NULL))
) STRICT, WITHOUT ROWID;
INSERT INTO "attempts" VALUES(1,1,1,1,'6cpb2fjgp4vrxzwk9yjh0jj0ra','{"worker":"hand-1","instance":null,"model":null,"data":null,"facts":null}',1000,'{"command":"continue","lease_s":60}',1795763122607,1795763122660,'completed',NULL,NULL,0);
INSERT INTO "attempts" VALUES(2,1,1,2,'tk6288c69dd8wq5n1w768pw6mw','{"worker":"hand-1","instance":null,"model":null,"data":null,"facts":null}',1000,'{"command":"continue","lease_s":60}',1795763122618,1795763122668,'failed','diverged','NaN',0);
INSERT INTO "attempts" VALUES(3,1,1,3,'759rbrb7kjdqg7n8bcv84sbe8n','{"worker":"hand-1","instance":null,"model":null,"data":null,"facts":null}',1,'{"command":"continue","lease_s":60}',1795763122633,NULL,NULL,NULL,NULL,0);
INSERT INTO "attempts" VALUES(4,1,1,4,'0p32n86yksvrxdfz7cab96jfr4','{"worker":"hand-1","instance":null,"model":null,"data":null,"facts":null}',1000,'{"command":"continue","lease_s":60}',1795763122640,1795763122687,'stopped',NULL,NULL,0);
INSERT INTO "attempts" VALUES(4,2,1,5,'c7z0ah09ypkgcbpfybzcaw4kgz','{"worker":"hand-1","instance":null,"model":null,"data":null,"facts":null}',2,'{"command":"continue","lease_s":60}',1795763122700,1795763122711,'stopped',NULL,NULL,0);
CREATE TABLE changes (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        sweep INTEGER NOT NULL REFERENCES sweeps (id) ON DELETE CASCADE,
        at_ms INTEGER NOT NULL,
        who TEXT,                                  -- the token's name, '' without authentication; NULL = the coordinator
        what TEXT NOT NULL,
        last_number INTEGER NOT NULL CHECK (last_number >= 0), -- of the trials before it
        detail TEXT NOT NULL                       -- JSON
) STRICT;
INSERT INTO "changes" VALUES(1,1,1795763122583,'','created',0,'{}');
INSERT INTO "changes" VALUES(2,1,1795763122696,'','retried trial',4,'{"trial":4}');
INSERT INTO "changes" VALUES(3,1,1795763122721,'','enqueued',6,'{"n":2,"first":5,"last":6}');
INSERT INTO "changes" VALUES(4,1,1795763122731,'','cancelled trial',6,'{"trial":6}');
INSERT INTO "changes" VALUES(5,1,1795763122740,'','imported',7,'{"n":1,"first":7,"last":7}');
CREATE TABLE claims (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        worker INTEGER NOT NULL REFERENCES workers (id),
        claim_id TEXT NOT NULL,
        answer TEXT NOT NULL,
        created_ms INTEGER NOT NULL,
        UNIQUE (worker, claim_id)
) STRICT;
INSERT INTO "claims" VALUES(1,1,'claim-2','{"trials":[{"id":"txjjd53s4dtym0qkd","sweep":"srjtbzq15hb36xxrg","number":1,"attempt":1,"lease":"6cpb2fjgp4vrxzwk9yjh0jj0ra","lease_s":60,"params":{"x":0.6832683482983564,"n":7},"trainer":"external","program":null,"fixed":{},"seed":3514041956355073,"resume":null,"metric":{"name":"loss","goal":"minimize"}}]}',1795763122607);
INSERT INTO "claims" VALUES(2,1,'claim-3','{"trials":[{"id":"tjgkm64xencfp7pqq","sweep":"srjtbzq15hb36xxrg","number":2,"attempt":1,"lease":"tk6288c69dd8wq5n1w768pw6mw","lease_s":60,"params":{"x":0.0754903519157537,"n":2},"trainer":"external","program":null,"fixed":{},"seed":8655757216002375,"resume":null,"metric":{"name":"loss","goal":"minimize"}}]}',1795763122618);
INSERT INTO "claims" VALUES(3,1,'claim-4','{"trials":[{"id":"tm0m264dtzd7sa78k","sweep":"srjtbzq15hb36xxrg","number":3,"attempt":1,"lease":"759rbrb7kjdqg7n8bcv84sbe8n","lease_s":60,"params":{"x":0.062029769839788584,"n":7},"trainer":"external","program":null,"fixed":{},"seed":8728223421580807,"resume":null,"metric":{"name":"loss","goal":"minimize"}}]}',1795763122633);
INSERT INTO "claims" VALUES(4,1,'claim-5','{"trials":[{"id":"tvf4ttxaxg6pk2sap","sweep":"srjtbzq15hb36xxrg","number":4,"attempt":1,"lease":"0p32n86yksvrxdfz7cab96jfr4","lease_s":60,"params":{"x":0.8190468710352531,"n":1},"trainer":"external","program":null,"fixed":{},"seed":6812084378764979,"resume":null,"metric":{"name":"loss","goal":"minimize"}}]}',1795763122640);
INSERT INTO "claims" VALUES(5,1,'claim-6','{"trials":[{"id":"tvf4ttxaxg6pk2sap","sweep":"srjtbzq15hb36xxrg","number":4,"attempt":2,"lease":"c7z0ah09ypkgcbpfybzcaw4kgz","lease_s":60,"params":{"x":0.8190468710352531,"n":1},"trainer":"external","program":null,"fixed":{},"seed":6812084378764979,"resume":null,"metric":{"name":"loss","goal":"minimize"}}]}',1795763122700);
CREATE TABLE history (
        seq INTEGER PRIMARY KEY AUTOINCREMENT,
        sweep INTEGER NOT NULL REFERENCES sweeps (id) ON DELETE CASCADE,
        trial INTEGER NOT NULL REFERENCES trials (id) ON DELETE CASCADE,
        added INTEGER NOT NULL CHECK (added IN (0, 1)),
        state TEXT NOT NULL CHECK (state IN ('queued','running','completed','stopped','failed','cancelled')),
        value REAL
) STRICT;
INSERT INTO "history" VALUES(1,1,1,1,'queued',NULL);
INSERT INTO "history" VALUES(2,1,2,1,'queued',NULL);
INSERT INTO "history" VALUES(3,1,3,1,'queued',NULL);
INSERT INTO "history" VALUES(4,1,4,1,'queued',NULL);
INSERT INTO "history" VALUES(5,1,1,0,'completed',0.5);
INSERT INTO "history" VALUES(6,1,2,0,'failed',NULL);
INSERT INTO "history" VALUES(7,1,4,0,'stopped',0.75);
INSERT INTO "history" VALUES(8,1,4,0,'queued',NULL);
INSERT INTO "history" VALUES(9,1,4,0,'stopped',0.125);
INSERT INTO "history" VALUES(10,1,5,1,'queued',NULL);
INSERT INTO "history" VALUES(11,1,6,1,'queued',NULL);
INSERT INTO "history" VALUES(12,1,6,0,'cancelled',NULL);
INSERT INTO "history" VALUES(13,1,7,1,'completed',2.5);
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
CREATE TABLE metrics (
        trial INTEGER NOT NULL REFERENCES trials (id) ON DELETE CASCADE,
        step INTEGER NOT NULL,
        name TEXT NOT NULL,
        epoch REAL,
        value REAL NOT NULL,
        time_ms INTEGER NOT NULL,
        PRIMARY KEY (trial, step, name)
) STRICT, WITHOUT ROWID;
INSERT INTO "metrics" VALUES(1,1,'loss',NULL,0.25,1795763122648);
CREATE TABLE sweeps (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        public_id TEXT NOT NULL UNIQUE,
        state TEXT NOT NULL CHECK (state IN ('running','paused','finished','cancelled')),
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
, spec_version INTEGER NOT NULL DEFAULT 1 CHECK (spec_version >= 1)) STRICT;
INSERT INTO "sweeps" VALUES(1,'srjtbzq15hb36xxrg','running','test','random','{"name":"test","method":"random","trainer":"external","seed":1,"metric":{"name":"loss","goal":"minimize"},"parameters":{"x":{"min":0.0,"max":1.0},"n":{"min":1,"max":9}}}',1,0,0,0,NULL,NULL,NULL,8,1795763122583,1);
CREATE TABLE token_changes (n INTEGER NOT NULL) STRICT;
INSERT INTO "token_changes" VALUES(1);
CREATE TABLE tokens (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        name TEXT NOT NULL UNIQUE,
        role TEXT NOT NULL CHECK (role IN ('admin', 'worker', 'viewer')),
        hash TEXT NOT NULL UNIQUE CHECK (length(hash) = 64),
        sweep TEXT,                                -- public id: good for this sweep only; NULL = all
        created_ms INTEGER NOT NULL,
        expires_ms INTEGER                         -- NULL = never
) STRICT;
CREATE TABLE trial_counts (
        sweep INTEGER NOT NULL REFERENCES sweeps (id) ON DELETE CASCADE,
        stage INTEGER NOT NULL,
        origin TEXT NOT NULL,
        state TEXT NOT NULL CHECK (state IN ('queued','running','completed','stopped','failed','cancelled')),
        n INTEGER NOT NULL CHECK (n >= 0),
        PRIMARY KEY (sweep, stage, origin, state)
) STRICT, WITHOUT ROWID;
INSERT INTO "trial_counts" VALUES(1,0,'enqueued','cancelled',1);
INSERT INTO "trial_counts" VALUES(1,0,'enqueued','queued',1);
INSERT INTO "trial_counts" VALUES(1,0,'imported','completed',1);
INSERT INTO "trial_counts" VALUES(1,0,'proposed','completed',1);
INSERT INTO "trial_counts" VALUES(1,0,'proposed','failed',1);
INSERT INTO "trial_counts" VALUES(1,0,'proposed','queued',0);
INSERT INTO "trial_counts" VALUES(1,0,'proposed','running',1);
INSERT INTO "trial_counts" VALUES(1,0,'proposed','stopped',1);
CREATE TABLE trials (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        public_id TEXT NOT NULL UNIQUE,
        sweep INTEGER NOT NULL REFERENCES sweeps (id) ON DELETE CASCADE,
        number INTEGER NOT NULL CHECK (number >= 1),
        state TEXT NOT NULL CHECK (state IN ('queued','running','completed','stopped','failed','cancelled')),
        origin TEXT NOT NULL CHECK (origin IN ('proposed', 'enqueued', 'imported')),
        stage INTEGER NOT NULL CHECK (stage >= 0),
        params TEXT NOT NULL,                      -- JSON
        proposal TEXT NOT NULL,                    -- JSON: where it came from
        value REAL CHECK (value IS NULL OR state IN ('completed', 'stopped')),
        reason TEXT CHECK (reason IN ('lease_lost','crashed','out_of_memory','io','timeout','bad_checkpoint','diverged','bad_config','bad_model','bad_data','no_metric')),
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
INSERT INTO "trials" VALUES(1,'txjjd53s4dtym0qkd',1,1,'completed','proposed',0,'{"x":0.6832683482983564,"n":7}','{"source":"random"}',0.5,NULL,NULL,NULL,NULL,1,0,2,1,NULL,NULL,1795763122607,1795763122607,1795763122660);
INSERT INTO "trials" VALUES(2,'tjgkm64xencfp7pqq',1,2,'failed','proposed',0,'{"x":0.0754903519157537,"n":2}','{"source":"random"}',NULL,'diverged','NaN',NULL,NULL,1,0,2,1,NULL,NULL,1795763122618,1795763122618,1795763122668);
INSERT INTO "trials" VALUES(3,'tm0m264dtzd7sa78k',1,3,'running','proposed',0,'{"x":0.062029769839788584,"n":7}','{"source":"random"}',NULL,NULL,NULL,NULL,0.5,1,0,2,1,NULL,NULL,1795763122633,1795763122633,NULL);
INSERT INTO "trials" VALUES(4,'tvf4ttxaxg6pk2sap',1,4,'stopped','proposed',0,'{"x":0.8190468710352531,"n":1}','{"source":"random"}',0.125,NULL,NULL,NULL,NULL,2,0,1,1,NULL,NULL,1795763122640,1795763122700,1795763122711);
INSERT INTO "trials" VALUES(5,'t26019nyz40pmrr2t',1,5,'queued','enqueued',0,'{"x":0.5,"n":3}','{"source":"user"}',NULL,NULL,NULL,NULL,NULL,0,0,2,NULL,NULL,NULL,1795763122720,NULL,NULL);
INSERT INTO "trials" VALUES(6,'tf43kewy6fnyrfqzt',1,6,'cancelled','enqueued',0,'{"x":0.25,"n":4}','{"source":"user"}',NULL,NULL,NULL,NULL,NULL,0,0,2,NULL,NULL,NULL,1795763122720,NULL,1795763122731);
INSERT INTO "trials" VALUES(7,'t13bezt3zqmwhb2kb',1,7,'completed','imported',0,'{"x":0.75,"n":5}','{"source":"import"}',2.5,NULL,NULL,NULL,NULL,0,0,2,NULL,NULL,NULL,1795763122740,NULL,1795763122740);
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
, quarantine TEXT, quarantined_ms INTEGER CHECK ((quarantined_ms IS NULL) = (quarantine IS NULL)), unfit INTEGER NOT NULL DEFAULT 0 CHECK (unfit IN (0, 1)), trusted_ms INTEGER NOT NULL DEFAULT 0, served INTEGER NOT NULL DEFAULT 0 CHECK (served IN (0, 1)), forgotten INTEGER NOT NULL DEFAULT 0 CHECK (forgotten IN (0, 1))) STRICT;
INSERT INTO "workers" VALUES(1,'waepr661y5y7aearv','hand-1',NULL,1,'["external"]',NULL,NULL,NULL,NULL,NULL,0,1795763122592,1795763122592,NULL,NULL,0,1795763122592,1,0);
CREATE INDEX sweeps_by_state ON sweeps (state, id);
CREATE INDEX trials_queued ON trials (sweep, place, number) WHERE state = 'queued';
CREATE INDEX trials_released ON trials (released_ms) WHERE released_ms IS NOT NULL;
CREATE INDEX trials_by_value ON trials (sweep, value, number) WHERE value IS NOT NULL;
CREATE INDEX trials_by_worker ON trials (worker) WHERE state = 'running';
CREATE INDEX claims_by_age ON claims (created_ms);
CREATE INDEX attempts_running ON attempts (worker, trial) WHERE ended_ms IS NULL;
CREATE INDEX attempts_by_claim ON attempts (claim) WHERE claim IS NOT NULL;
CREATE INDEX history_by_sweep ON history (sweep, seq);
CREATE INDEX history_by_trial ON history (trial, seq);
CREATE INDEX metrics_by_name ON metrics (trial, name, step);
CREATE INDEX idempotency_keys_by_age ON idempotency_keys (created_ms);
CREATE TRIGGER tokens_inserted AFTER INSERT ON tokens BEGIN UPDATE token_changes SET n = n + 1; END;
CREATE TRIGGER tokens_updated AFTER UPDATE ON tokens BEGIN UPDATE token_changes SET n = n + 1; END;
CREATE TRIGGER tokens_deleted AFTER DELETE ON tokens BEGIN UPDATE token_changes SET n = n + 1; END;
CREATE TRIGGER trials_inserted AFTER INSERT ON trials BEGIN
        INSERT INTO trial_counts (sweep, stage, origin, state, n) VALUES (new.sweep, new.stage, new.origin, new.state, 1)
                ON CONFLICT DO UPDATE SET n = n + 1;
END;
CREATE TRIGGER trials_moved AFTER UPDATE OF state ON trials WHEN new.state <> old.state BEGIN
        UPDATE trial_counts SET n = n - 1 WHERE sweep = old.sweep AND stage = old.stage AND origin = old.origin AND state = old.state;
        INSERT INTO trial_counts (sweep, stage, origin, state, n) VALUES (new.sweep, new.stage, new.origin, new.state, 1)
                ON CONFLICT DO UPDATE SET n = n + 1;
END;
CREATE TRIGGER trials_deleted AFTER DELETE ON trials BEGIN
        UPDATE trial_counts SET n = n - 1 WHERE sweep = old.sweep AND stage = old.stage AND origin = old.origin AND state = old.state;
END;
CREATE INDEX trials_by_state ON trials (sweep, state, number);
CREATE INDEX trials_without_value ON trials (sweep, number) WHERE value IS NULL;
CREATE INDEX trials_timed ON trials (sweep, number) WHERE started_ms IS NOT NULL AND value IS NOT NULL;
CREATE INDEX attempts_failed ON attempts (worker, ended_ms) WHERE reason IS NOT NULL;
CREATE INDEX changes_by_sweep ON changes (sweep, id);
DELETE FROM "sqlite_sequence";
INSERT INTO "sqlite_sequence" VALUES('sweeps',1);
INSERT INTO "sqlite_sequence" VALUES('workers',1);
INSERT INTO "sqlite_sequence" VALUES('trials',7);
INSERT INTO "sqlite_sequence" VALUES('claims',5);
INSERT INTO "sqlite_sequence" VALUES('history',13);
INSERT INTO "sqlite_sequence" VALUES('changes',5);
COMMIT;
