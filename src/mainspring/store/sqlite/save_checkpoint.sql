-- save_checkpoint.sql: keep what the next attempt goes on from, only while this attempt holds its run
INSERT INTO run_progress (run_id, attempt, done, note, checkpoint, checkpoint_attempt, checkpoint_at, updated_at)
SELECT id, 0, 0, '', :value, attempt, :now, :now FROM runs
 WHERE id = :id AND state = 'running' AND attempt = :attempt AND session_id = :session
ON CONFLICT (run_id) DO UPDATE SET checkpoint = excluded.checkpoint,
   checkpoint_attempt = excluded.checkpoint_attempt, checkpoint_at = excluded.checkpoint_at
