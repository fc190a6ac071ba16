-- missed_waiting.sql: of a page of waiting runs those whose end of waiting nobody noticed, and the last one of the page.
-- A scalar query for each run: of an EXISTS the planner may make a hash of all dependencies there are.
WITH p AS MATERIALIZED (
       SELECT id FROM $schema.runs WHERE state IN ('waiting', 'held') AND state = 'waiting' AND id > %(after)s::uuid
        ORDER BY id LIMIT %(n)s),
     j AS MATERIALIZED (
       SELECT p.id, (SELECT 1 FROM $schema.dependencies d JOIN $schema.runs n ON n.id = d.needs_run_id
                      WHERE d.run_id = p.id AND n.state NOT IN ('cancelled', 'failed', 'succeeded') LIMIT 1) IS NULL
                 OR (SELECT 1 FROM $schema.dependencies d JOIN $schema.runs n ON n.id = d.needs_run_id
                      WHERE d.run_id = p.id
                        AND (d.policy = 'stop' AND n.state IN ('cancelled', 'failed')
                             OR d.policy = 'compensate' AND n.state = 'succeeded') LIMIT 1) IS NOT NULL AS missed
         FROM p)
SELECT id::text, missed FROM j WHERE missed OR id = (SELECT id FROM p ORDER BY id DESC LIMIT 1) ORDER BY id
