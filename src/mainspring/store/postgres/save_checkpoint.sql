-- save_checkpoint.sql: keep what the next attempt goes on from, only while this attempt holds its run
-- FOR SHARE: nobody takes the run back between the look at it and the write.
WITH r AS MATERIALIZED (
       SELECT id, attempt FROM $schema.runs
        WHERE id = %(id)s AND state = 'running' AND attempt = %(attempt)s AND session_id = %(session)s FOR SHARE)
INSERT INTO $schema.run_progress AS p
       (run_id, attempt, done, note, checkpoint, checkpoint_attempt, checkpoint_at, updated_at)
SELECT id, 0, 0, '', %(value)s, attempt, %(now)s, %(now)s FROM r
ON CONFLICT (run_id) DO UPDATE SET checkpoint = excluded.checkpoint,
   checkpoint_attempt = excluded.checkpoint_attempt, checkpoint_at = excluded.checkpoint_at
