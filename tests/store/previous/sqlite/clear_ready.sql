-- clear_ready.sql: take these runs out of their queues; returns those that were there
DELETE FROM ready WHERE run_id IN (SELECT value FROM json_each(:ids)) RETURNING run_id
