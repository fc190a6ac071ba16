-- move_keys.sql: give keys that are locked by us to other runs, or write down who asked to change their holder
UPDATE run_keys SET run_id = ?, until_end = ?, expires_at = ?, asked_by = ? WHERE scope = ? AND key = ? AND run_id = ?
