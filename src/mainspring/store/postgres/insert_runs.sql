-- insert_runs.sql: add runs; one that is there already (a repeated transaction) stays as it is
INSERT INTO $schema.runs (id, task, queue, priority, state, kind, max_tries, at_most_once, schedule_id, fire_at, member,
                          seq, due_at, expires_at, labels, owner_id, params_version, snapshot_hash, created_at,
                          replay_of)
SELECT * FROM unnest(%s::uuid[], %s::text[], %s::text[], %s::smallint[], %s::text[], %s::text[], %s::int[], %s::boolean[],
                     %s::uuid[], %s::timestamptz[], %s::text[], %s::bigint[], %s::timestamptz[], %s::timestamptz[],
                     %s::text[], %s::text[], %s::int[], %s::text[], %s::timestamptz[], %s::uuid[])
ON CONFLICT (id) DO NOTHING
