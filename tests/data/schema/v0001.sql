PRAGMA application_id = 1937204592;
PRAGMA user_version = 1;
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
INSERT INTO "attempts" VALUES(1,1,1,1,'91qmad69ar1qfc44q42p84yq51','{"worker":"hand-1","instance":null,"model":null,"data":null,"facts":null}',1000,'{"command":"continue","lease_s":60}',1795743064028,1795743064088,'completed',NULL,NULL,0);
INSERT INTO "attempts" VALUES(2,1,1,2,'512hqvtk4jpx3w0jk8m3c850aj','{"worker":"hand-1","instance":null,"model":null,"data":null,"facts":null}',1000,'{"command":"continue","lease_s":60}',1795743064043,1795743064099,'failed','diverged','NaN',0);
INSERT INTO "attempts" VALUES(3,1,1,3,'exg8vv7na21tfwp2vcb9fjrhct','{"worker":"hand-1","instance":null,"model":null,"data":null,"facts":null}',1,'{"command":"continue","lease_s":60}',1795743064055,NULL,NULL,NULL,NULL,0);
INSERT INTO "attempts" VALUES(4,1,1,4,'cpt97377bdksn69zq6xv2kyntn','{"worker":"hand-1","instance":null,"model":null,"data":null,"facts":null}',1000,'{"command":"continue","lease_s":60}',1795743064064,1795743064118,'stopped',NULL,NULL,0);
INSERT INTO "attempts" VALUES(4,2,1,5,'ddbzgnqf2kkb5kgema7d7t9c85','{"worker":"hand-1","instance":null,"model":null,"data":null,"facts":null}',2,'{"command":"continue","lease_s":60}',1795743064152,1795743064164,'stopped',NULL,NULL,0);
CREATE TABLE claims (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        worker INTEGER NOT NULL REFERENCES workers (id),
        claim_id TEXT NOT NULL,
        answer TEXT NOT NULL,
        created_ms INTEGER NOT NULL,
        UNIQUE (worker, claim_id)
) STRICT;
INSERT INTO "claims" VALUES(1,1,'claim-2','{"trials":[{"id":"tzw86bbag11habq67","sweep":"sb2ab4k6qg4btrgrr","number":1,"attempt":1,"lease":"91qmad69ar1qfc44q42p84yq51","lease_s":60,"params":{"x":0.6832683482983564,"n":7},"trainer":"external","program":null,"fixed":{},"seed":3514041956355073,"resume":null,"metric":{"name":"loss","goal":"minimize"}}]}',1795743064028);
INSERT INTO "claims" VALUES(2,1,'claim-3','{"trials":[{"id":"tpwpr559ndgjajegs","sweep":"sb2ab4k6qg4btrgrr","number":2,"attempt":1,"lease":"512hqvtk4jpx3w0jk8m3c850aj","lease_s":60,"params":{"x":0.0754903519157537,"n":2},"trainer":"external","program":null,"fixed":{},"seed":8655757216002375,"resume":null,"metric":{"name":"loss","goal":"minimize"}}]}',1795743064043);
INSERT INTO "claims" VALUES(3,1,'claim-4','{"trials":[{"id":"tvaancbrne9sayn8t","sweep":"sb2ab4k6qg4btrgrr","number":3,"attempt":1,"lease":"exg8vv7na21tfwp2vcb9fjrhct","lease_s":60,"params":{"x":0.062029769839788584,"n":7},"trainer":"external","program":null,"fixed":{},"seed":8728223421580807,"resume":null,"metric":{"name":"loss","goal":"minimize"}}]}',1795743064055);
INSERT INTO "claims" VALUES(4,1,'claim-5','{"trials":[{"id":"tkv6zrm47qwr3255w","sweep":"sb2ab4k6qg4btrgrr","number":4,"attempt":1,"lease":"cpt97377bdksn69zq6xv2kyntn","lease_s":60,"params":{"x":0.8190468710352531,"n":1},"trainer":"external","program":null,"fixed":{},"seed":6812084378764979,"resume":null,"metric":{"name":"loss","goal":"minimize"}}]}',1795743064064);
INSERT INTO "claims" VALUES(5,1,'claim-6','{"trials":[{"id":"tkv6zrm47qwr3255w","sweep":"sb2ab4k6qg4btrgrr","number":4,"attempt":2,"lease":"ddbzgnqf2kkb5kgema7d7t9c85","lease_s":60,"params":{"x":0.8190468710352531,"n":1},"trainer":"external","program":null,"fixed":{},"seed":6812084378764979,"resume":null,"metric":{"name":"loss","goal":"minimize"}}]}',1795743064152);
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
INSERT INTO "metrics" VALUES(1,1,'loss',NULL,0.25,1795743064076);
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
) STRICT;
INSERT INTO "sweeps" VALUES(1,'sb2ab4k6qg4btrgrr','running','test','random','{"name":"test","method":"random","trainer":"external","seed":1,"metric":{"name":"loss","goal":"minimize"},"parameters":{"x":{"min":0.0,"max":1.0},"n":{"min":1,"max":9}}}',1,0,0,0,NULL,NULL,NULL,8,1795743063983);
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
INSERT INTO "trials" VALUES(1,'tzw86bbag11habq67',1,1,'completed','proposed',0,'{"x":0.6832683482983564,"n":7}','{"source":"random"}',0.5,NULL,NULL,NULL,NULL,1,0,2,1,NULL,NULL,1795743064027,1795743064028,1795743064088);
INSERT INTO "trials" VALUES(2,'tpwpr559ndgjajegs',1,2,'failed','proposed',0,'{"x":0.0754903519157537,"n":2}','{"source":"random"}',NULL,'diverged','NaN',NULL,NULL,1,0,2,1,NULL,NULL,1795743064043,1795743064043,1795743064099);
INSERT INTO "trials" VALUES(3,'tvaancbrne9sayn8t',1,3,'running','proposed',0,'{"x":0.062029769839788584,"n":7}','{"source":"random"}',NULL,NULL,NULL,NULL,0.5,1,0,2,1,NULL,NULL,1795743064055,1795743064055,NULL);
INSERT INTO "trials" VALUES(4,'tkv6zrm47qwr3255w',1,4,'stopped','proposed',0,'{"x":0.8190468710352531,"n":1}','{"source":"random"}',0.125,NULL,NULL,NULL,NULL,2,0,1,1,NULL,NULL,1795743064064,1795743064152,1795743064164);
INSERT INTO "trials" VALUES(5,'t0sr64ny0xcvrxmcq',1,5,'queued','enqueued',0,'{"x":0.5,"n":3}','{"source":"user"}',NULL,NULL,NULL,NULL,NULL,0,0,2,NULL,NULL,NULL,1795743064184,NULL,NULL);
INSERT INTO "trials" VALUES(6,'tyy63ztb7zde0c765',1,6,'cancelled','enqueued',0,'{"x":0.25,"n":4}','{"source":"user"}',NULL,NULL,NULL,NULL,NULL,0,0,2,NULL,NULL,NULL,1795743064184,NULL,1795743064192);
INSERT INTO "trials" VALUES(7,'tx8qa35vrz0zkjfq0',1,7,'completed','imported',0,'{"x":0.75,"n":5}','{"source":"import"}',2.5,NULL,NULL,NULL,NULL,0,0,2,NULL,NULL,NULL,1795743064209,NULL,1795743064209);
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
INSERT INTO "workers" VALUES(1,'wb7n6hyfhdg0hatvc','hand-1',NULL,1,'["external"]',NULL,NULL,NULL,NULL,NULL,0,1795743064015,1795743064015);
CREATE INDEX sweeps_by_state ON sweeps (state, id);
CREATE INDEX trials_by_state ON trials (sweep, state, id);
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
DELETE FROM "sqlite_sequence";
INSERT INTO "sqlite_sequence" VALUES('sweeps',1);
INSERT INTO "sqlite_sequence" VALUES('workers',1);
INSERT INTO "sqlite_sequence" VALUES('trials',7);
INSERT INTO "sqlite_sequence" VALUES('claims',5);
INSERT INTO "sqlite_sequence" VALUES('history',13);
COMMIT;
