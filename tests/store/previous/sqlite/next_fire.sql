-- next_fire.sql: the next fire time of all schedules
SELECT min(next_at) FROM schedules WHERE next_at IS NOT NULL
