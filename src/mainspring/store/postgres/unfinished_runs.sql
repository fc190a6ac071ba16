-- unfinished_runs.sql: the unfinished runs of these schedules; those of a backfill stand in nobody's way
SELECT schedule_id::text, id::text, fire_at FROM $schema.runs
 WHERE schedule_id = ANY(%(ids)s::uuid[])
   AND schedule_id IS NOT NULL AND state NOT IN ('cancelled', 'failed', 'succeeded') AND kind <> 'backfill'
