-- ask_cancel.sql: ask running runs to cancel; who asked first stands
UPDATE runs SET cancel_requested_at = coalesce(cancel_requested_at, :now), cancel_reason = coalesce(cancel_reason, :reason)
 WHERE id IN (SELECT value FROM json_each(:ids)) AND +state = 'running'
RETURNING id
