-- clear_checkpoints.sql: forget where runs stood that have succeeded
UPDATE run_progress SET checkpoint = NULL, checkpoint_attempt = NULL, checkpoint_at = NULL WHERE run_id = ?
