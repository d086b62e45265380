-- What version 2 of the schema made of a database of version 1 (schema-1.sql), and a record of its own. Never edit: it stands
-- for the databases that are out there.
CREATE TABLE events (
    event_id TEXT NOT NULL PRIMARY KEY,
    at_ms INTEGER NOT NULL,
    kind TEXT NOT NULL,
    limit_name TEXT NOT NULL,
    team TEXT NOT NULL,
    counter TEXT NOT NULL,
    event TEXT NOT NULL
) WITHOUT ROWID;
CREATE INDEX events_by_time ON events (at_ms, event_id);
CREATE TABLE usage_claims (name TEXT NOT NULL PRIMARY KEY, until_ms INTEGER NOT NULL) WITHOUT ROWID;
ALTER TABLE usage_records ADD COLUMN tags TEXT NOT NULL DEFAULT '[]';
ALTER TABLE usage_records ADD COLUMN user TEXT NOT NULL DEFAULT '';
ALTER TABLE usage_records ADD COLUMN pool TEXT NOT NULL DEFAULT '';
ALTER TABLE usage_records ADD COLUMN route TEXT NOT NULL DEFAULT '';
ALTER TABLE usage_records ADD COLUMN observed TEXT NOT NULL DEFAULT '[]';
ALTER TABLE usage_records ADD COLUMN retried_usage TEXT NOT NULL DEFAULT '[]';
ALTER TABLE usage_records ADD COLUMN retried_prompt_tokens INTEGER NOT NULL DEFAULT 0;
ALTER TABLE usage_records ADD COLUMN retried_completion_tokens INTEGER NOT NULL DEFAULT 0;
UPDATE usage_schema SET version = 2;
INSERT INTO usage_records VALUES
    ('old-3', 'r-3', 2500, 'ci', 'search', 'indexer', 'gpt-4o', 'openai/gpt-4o', 1, 0, 200, 'completed', '', 'miss', 11, 12, 5, 6, 0, 77, 900, 80, '1970-01-01',
     '[]', '', 'gpt-4o', '', '[]', '[{"deployment":"eu/gpt-4o","prompt_tokens":3,"completion_tokens":4}]', 3, 4);
