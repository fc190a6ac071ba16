-- unfinished_runs.sql: the unfinished runs of these schedules; those of a backfill stand in nobody's way
SELECT schedule_id, id, fire_at FROM runs
 WHERE schedule_id IN (SELECT value FROM json_each(:ids))
   AND schedule_id IS NOT NULL AND state NOT IN ('cancelled', 'failed', 'succeeded') AND kind <> 'backfill'
