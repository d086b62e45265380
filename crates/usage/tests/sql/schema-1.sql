-- A database as version 1 of the schema left it. Never edit: it stands for the databases that are out there.
CREATE TABLE usage_records (
    record_id TEXT NOT NULL,
    request_id TEXT NOT NULL,
    at_ms INTEGER NOT NULL,
    consumer TEXT NOT NULL,
    team TEXT NOT NULL,
    app TEXT NOT NULL,
    model TEXT NOT NULL,
    deployment TEXT NOT NULL,
    attempts INTEGER NOT NULL,
    stream INTEGER NOT NULL,
    status INTEGER NOT NULL,
    outcome TEXT NOT NULL,
    error_code TEXT NOT NULL,
    cache TEXT NOT NULL,
    prompt_tokens INTEGER NOT NULL,
    completion_tokens INTEGER NOT NULL,
    cached_tokens INTEGER NOT NULL,
    reasoning_tokens INTEGER NOT NULL,
    estimated INTEGER NOT NULL,
    cost_nano_usd INTEGER,
    latency_ms INTEGER NOT NULL,
    ttft_ms INTEGER,
    day TEXT NOT NULL,
    PRIMARY KEY (at_ms, record_id)
) WITHOUT ROWID;
CREATE INDEX usage_records_by_team ON usage_records (team, at_ms);
CREATE TABLE usage_schema (only_row INTEGER PRIMARY KEY CHECK (only_row = 1), version INTEGER NOT NULL);
INSERT INTO usage_schema (only_row, version) VALUES (1, 1);
INSERT INTO usage_records VALUES
    ('old-1', 'r-1', 1000, 'ci', 'search', 'indexer', 'gpt-4o', 'openai/gpt-4o', 1, 0, 200, 'completed', '', 'miss', 11, 12, 5, 6, 0, 77, 900, 80, '1970-01-01'),
    ('old-2', 'r-2', 2000, 'ci', '', '', 'gpt-4o', '', 0, 1, 429, 'refused', 'rate_limit_exceeded', 'bypass', 0, 0, 0, 0, 0, 0, 3, NULL, '1970-01-01');
