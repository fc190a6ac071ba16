-- due_runs.sql: scheduled runs that have come due, first come first; others skip what we hold
SELECT id::text FROM $schema.runs WHERE state = 'scheduled' AND due_at <= %(now)s
 ORDER BY due_at, id LIMIT %(n)s FOR UPDATE SKIP LOCKED
