-- drop_keys.sql: forget keys that held nothing when they were looked at and have not passed to another run since.
-- One that somebody is asking for at this moment stays.
WITH c AS MATERIALIZED (
       SELECT k.scope, k.key, k.run_id
         FROM unnest(%s::text[], %s::text[], %s::uuid[]) AS x(scope, key, run_id)
         JOIN $schema.run_keys k ON k.scope = x.scope AND k.key = x.key AND k.run_id = x.run_id
        ORDER BY k.scope, k.key FOR UPDATE OF k SKIP LOCKED)
DELETE FROM $schema.run_keys k USING c WHERE k.scope = c.scope AND k.key = c.key AND k.run_id = c.run_id
