-- A message that was told, or given up, goes: its end stands in the sweep's history. What was tried less often is told first.
DELETE FROM webhooks WHERE due_ms IS NULL;
DROP INDEX webhooks_due;
CREATE INDEX webhooks_due ON webhooks (attempts, due_ms);

PRAGMA user_version = 7;
