-- next_due_run.sql: when the next scheduled run comes due
SELECT min(due_at) FROM runs WHERE state = 'scheduled'
