-- last_turns.sql: the last turns of these keys in these queues
SELECT queue, rank, key, turn FROM key_turns
 WHERE key IN (SELECT value FROM json_each(:keys)) AND queue IN (SELECT value FROM json_each(:queues))
