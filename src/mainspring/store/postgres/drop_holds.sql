-- drop_holds.sql: let these runs be judged again by the limits that held them
WITH c AS MATERIALIZED (SELECT run_id FROM $schema.holds WHERE run_id = ANY(%(ids)s::uuid[]) ORDER BY run_id FOR UPDATE)
DELETE FROM $schema.holds h USING c WHERE h.run_id = c.run_id RETURNING h.run_id::text
