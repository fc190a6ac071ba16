-- drop_keys.sql: forget keys that held nothing when they were looked at and have not passed to another run since
DELETE FROM run_keys WHERE scope = ? AND key = ? AND run_id = ?
