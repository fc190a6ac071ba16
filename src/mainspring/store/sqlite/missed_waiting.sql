-- missed_waiting.sql: of a page of waiting runs those whose end of waiting nobody noticed, and the last one of the page.
-- A scalar query for each run: of an EXISTS the planner may make a hash of all dependencies there are.
WITH p AS MATERIALIZED (
       SELECT id FROM runs WHERE state IN ('waiting', 'held') AND state = 'waiting' AND id > :after
        ORDER BY id LIMIT :n),
     j AS MATERIALIZED (
       SELECT p.id, (SELECT 1 FROM dependencies d JOIN runs n ON n.id = d.needs_run_id
                      WHERE d.run_id = p.id AND n.state NOT IN ('cancelled', 'failed', 'succeeded') LIMIT 1) IS NULL
                 OR (SELECT 1 FROM dependencies d JOIN runs n ON n.id = d.needs_run_id
                      WHERE d.run_id = p.id
                        AND (d.policy = 'stop' AND n.state IN ('cancelled', 'failed')
                             OR d.policy = 'compensate' AND n.state = 'succeeded') LIMIT 1) IS NOT NULL AS missed
         FROM p)
SELECT id, missed FROM j WHERE missed OR id = (SELECT id FROM p ORDER BY id DESC LIMIT 1) ORDER BY id
