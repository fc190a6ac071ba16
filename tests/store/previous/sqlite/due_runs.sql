-- due_runs.sql: scheduled runs that have come due, first come first
SELECT id FROM runs WHERE state = 'scheduled' AND due_at <= :now ORDER BY due_at, id LIMIT :n
