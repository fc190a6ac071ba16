-- due_schedules.sql: schedules with a fire time that has come
SELECT id, name, version, spec, last_at, effective_at, catch_up_until, paused_at, paused_until, paused_by,
       pause_reason, next_at, computed_with, owner_id
  FROM schedules WHERE next_at IS NOT NULL AND next_at <= :now ORDER BY next_at LIMIT :n
