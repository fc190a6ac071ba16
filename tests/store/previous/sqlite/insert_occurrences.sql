-- insert_occurrences.sql: write ledger rows; a fire time that has one already is an error
INSERT INTO occurrences (schedule_id, fire_at, until_at, n, local_key, spec_version, outcome, cause, reason, recorded_at)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
