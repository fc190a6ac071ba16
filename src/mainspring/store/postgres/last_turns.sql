-- last_turns.sql: the last turns of these keys in these queues
SELECT queue, rank, key, turn FROM $schema.key_turns
 WHERE key = ANY(%(keys)s::text[]) AND queue = ANY(%(queues)s::text[])
