"""What is too old goes by itself: usage records in a database of an earlier build, and expired answers of the cache."""

import sqlite3
import time

import pytest
from support import servers

SCHEMA_1 = servers.ROOT / "crates/usage/tests/sql/schema-1.sql"
DAY_MS = 86_400_000
# As Spin's own SQLite key-value store makes it.
KEY_VALUE = "CREATE TABLE spin_key_value (store TEXT NOT NULL, key TEXT NOT NULL, value BLOB NOT NULL, PRIMARY KEY (store, key))"
ENTRY = (
    '{"v":1,"stored_at_ms":1,"expires_at_ms":%d,"prompt_tokens":1,"completion_tokens":1,"cached_tokens":0,'
    '"reasoning_tokens":0}\n{}'
)


@pytest.fixture
def state(tmp_path):
    folder = tmp_path / "state"
    folder.mkdir()
    return folder


def eventually(what, expected):
    deadline = time.monotonic() + 60
    while (got := what()) != expected:
        assert time.monotonic() < deadline, f"{got!r}, not {expected!r}"
        time.sleep(0.05)


def test_a_database_of_version_1_is_brought_up_to_date_and_loses_only_what_is_too_old(new_gateway, state):
    now_ms = time.time_ns() // 1_000_000
    with sqlite3.connect(state / "sqlite_db.db") as database:
        database.executescript(SCHEMA_1.read_text())
        for name, age_days in (("kept", 399), ("gone", 401)):
            columns = ",".join(column[1] for column in database.execute("PRAGMA table_info(usage_records)"))
            values = columns.replace("record_id", f"'{name}'", 1).replace("at_ms", str(now_ms - age_days * DAY_MS), 1)
            database.execute(f"INSERT INTO usage_records SELECT {values} FROM usage_records WHERE record_id = 'old-1'")
    database.close()
    gateway = new_gateway(state=state)
    new = gateway.record_of(gateway.chat("gpt-4o-mini"))["record_id"]

    def listed():
        rows = gateway.admin.get("/admin/requests?from=1970-01-01").json()["requests"]
        return [row["record_id"] for row in rows]

    eventually(listed, [new, "kept"])
    kept = gateway.admin.get("/admin/requests?from=1970-01-01").json()["requests"][1]
    assert (kept["team"], kept["prompt_tokens"], kept["cost_nano_usd"]) == ("search", 11, 77)


def test_expired_answers_are_deleted_and_nothing_else(new_gateway, state):
    path = state / "sqlite_key_value.db"
    expired = {f"sc:1:{index:064x}": ENTRY % 1 for index in range(250)}
    fresh = {f"sc:1:{'f' * 63}{index}": ENTRY % 99_999_999_999_999 for index in range(3)}
    others = {"someone:else": "x"}
    with sqlite3.connect(path) as store:
        store.execute(KEY_VALUE)
        rows = [("default", key, value.encode()) for key, value in (expired | fresh | others).items()]
        store.executemany("INSERT INTO spin_key_value VALUES (?, ?, ?)", rows)
    store.close()
    gateway = new_gateway(state=state)

    def entries():
        gateway.chat("gpt-4o-mini")  # again, for an answer is not stored where the cache was slow to say that it has none
        with sqlite3.connect(path) as store:
            keys = {key for (key,) in store.execute("SELECT key FROM spin_key_value")}
        store.close()
        return len(keys & set(expired)), len(keys & set(fresh | others)), sum(key.startswith("sc:1:") for key in keys)

    eventually(entries, (0, 4, 4))  # the fresh ones, and the answer that was just stored
