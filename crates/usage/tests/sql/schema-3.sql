-- What version 3 of the schema made of a database of version 2 (schema-2.sql), and a record of its own. Never edit: it stands
-- for the databases that are out there.
ALTER TABLE usage_records ADD COLUMN uncounted INTEGER NOT NULL DEFAULT 0;
UPDATE usage_schema SET version = 3;
INSERT INTO usage_records VALUES
    ('old-4', 'r-4', 2700, 'ci', 'search', 'indexer', 'gpt-4o', 'openai/gpt-4o', 1, 0, 200, 'completed', '', 'miss', 11, 12, 5, 6, 0, 77, 900, 80, '1970-01-01',
     '[]', '', 'gpt-4o', '', '[]', '[]', 0, 0, 1);
