-- Sweeps of a million trials: their counts are kept, not counted, and every page of a list is found by an index.

-- Trials of each kind. Triggers hold it to the rows, in the same transaction; `sweepd check` compares.
CREATE TABLE trial_counts (
        sweep INTEGER NOT NULL REFERENCES sweeps (id) ON DELETE CASCADE,
        stage INTEGER NOT NULL,
        origin TEXT NOT NULL,
        state TEXT NOT NULL CHECK (state IN ({{trial_states}})),
        n INTEGER NOT NULL CHECK (n >= 0),
        PRIMARY KEY (sweep, stage, origin, state)
) STRICT, WITHOUT ROWID;
INSERT INTO trial_counts (sweep, stage, origin, state, n) SELECT sweep, stage, origin, state, count(*) FROM trials GROUP BY 1, 2, 3, 4;
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

DROP INDEX trials_by_state;
CREATE INDEX trials_by_state ON trials (sweep, state, number);
CREATE INDEX trials_without_value ON trials (sweep, number) WHERE value IS NULL;
CREATE INDEX trials_timed ON trials (sweep, number) WHERE started_ms IS NOT NULL AND value IS NOT NULL; -- for the mean duration

PRAGMA user_version = 3;
