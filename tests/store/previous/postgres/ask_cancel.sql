-- ask_cancel.sql: ask running runs to cancel; who asked first stands
UPDATE $schema.runs SET cancel_requested_at = coalesce(cancel_requested_at, %(now)s::timestamptz),
                        cancel_reason = coalesce(cancel_reason, %(reason)s)
 WHERE id = ANY(%(ids)s::uuid[]) AND state = 'running'
RETURNING id::text
