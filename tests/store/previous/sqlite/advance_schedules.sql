-- advance_schedules.sql: move the marks of schedules forward if they still stand where the plan began
UPDATE schedules SET last_at = ?, next_at = ?, catch_up_until = ?, computed_with = ?
 WHERE id = ? AND version = ? AND last_at IS ? AND effective_at = ?
