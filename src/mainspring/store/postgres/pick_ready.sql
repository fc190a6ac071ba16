-- pick_ready.sql: further ready runs of a queue, and whether limits must be asked for each; `claim_runs` has asked for the session.
-- A run whose row somebody holds is left where it is.
WITH c AS MATERIALIZED (
       SELECT run_id, rank, turn, seq,
              limited OR coalesce((SELECT limits <> '{}' FROM $schema.queues WHERE name = %(queue)s), false) AS limited
         FROM $schema.ready WHERE queue = %(queue)s ORDER BY rank, turn, seq LIMIT %(n)s FOR UPDATE SKIP LOCKED)
SELECT c.run_id::text, c.limited FROM c JOIN $schema.runs r ON r.id = c.run_id ORDER BY c.rank, c.turn, c.seq
   FOR UPDATE OF r SKIP LOCKED
