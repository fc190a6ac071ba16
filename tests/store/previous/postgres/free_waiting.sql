-- free_waiting.sql: waiting runs all of whose needed runs have ended; others skip what we hold
SELECT w.id::text FROM $schema.runs w
 WHERE w.state IN ('waiting', 'held') AND w.state = 'waiting'
   AND NOT EXISTS (SELECT 1 FROM $schema.dependencies d JOIN $schema.runs r ON r.id = d.needs_run_id
                    WHERE d.run_id = w.id AND r.state NOT IN ('succeeded', 'failed', 'cancelled'))
 ORDER BY w.id LIMIT %(n)s FOR UPDATE OF w SKIP LOCKED
