-- clear_checkpoints.sql: forget where runs stood that have succeeded; rows are locked by ascending id
WITH l AS MATERIALIZED (
       SELECT run_id FROM $schema.run_progress WHERE run_id = ANY(%s::uuid[]) ORDER BY run_id FOR UPDATE)
UPDATE $schema.run_progress p SET checkpoint = NULL, checkpoint_attempt = NULL, checkpoint_at = NULL
  FROM l WHERE p.run_id = l.run_id
