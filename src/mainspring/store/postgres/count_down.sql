-- count_down.sql: waiting runs need so many fewer; returns how many each still needs. Their rows are locked by ascending
-- id first; whoever comes second counts from what the first has left. An array: no plan may look at all that wait.
WITH x AS MATERIALIZED (SELECT * FROM unnest(%s::int[], %s::uuid[]) AS x(n, id)),
     l AS MATERIALIZED (
       SELECT r.id FROM $schema.runs r
        WHERE r.id = ANY(ARRAY(SELECT id FROM x)) AND r.state = 'waiting' ORDER BY r.id FOR UPDATE)
UPDATE $schema.runs r SET needs_left = r.needs_left - x.n FROM x JOIN l ON l.id = x.id
 WHERE r.id = x.id AND r.state = 'waiting'
RETURNING r.id::text, r.needs_left
