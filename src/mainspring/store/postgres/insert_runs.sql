-- insert_runs.sql: add runs; one that is there already (a repeated transaction) stays as it is.
-- A run without a turn of its own joins the turn that is being served in its queue and rank.
INSERT INTO $schema.runs (id, task, queue, priority, state, kind, max_tries, at_most_once, schedule_id, fire_at, member,
                          seq, due_at, expires_at, labels, owner_id, params_version, snapshot_hash, created_at,
                          replay_of, uses, concurrency_key, turn, root_id, needs_left, awaited)
SELECT x.id, x.task, x.queue, x.priority, x.state, x.kind, x.max_tries, x.at_most_once, x.schedule_id, x.fire_at, x.member,
       x.seq, x.due_at, x.expires_at, x.labels, x.owner_id, x.params_version, x.snapshot_hash, x.created_at, x.replay_of,
       x.uses, x.concurrency_key, coalesce(x.turn, k.turn, 0), x.root_id, x.needs_left, x.awaited
  FROM unnest(%s::uuid[], %s::text[], %s::text[], %s::smallint[], %s::text[], %s::text[], %s::int[], %s::boolean[],
              %s::uuid[], %s::timestamptz[], %s::text[], %s::bigint[], %s::timestamptz[], %s::timestamptz[],
              %s::text[], %s::text[], %s::int[], %s::text[], %s::timestamptz[], %s::uuid[], %s::text[], %s::text[],
              %s::bigint[], %s::uuid[], %s::int[], %s::boolean[])
       AS x(id, task, queue, priority, state, kind, max_tries, at_most_once, schedule_id, fire_at, member, seq, due_at,
            expires_at, labels, owner_id, params_version, snapshot_hash, created_at, replay_of, uses, concurrency_key,
            turn, root_id, needs_left, awaited)
  LEFT JOIN $schema.key_turns k ON k.queue = x.queue AND k.rank = 9 - x.priority AND k.key = ''
ON CONFLICT (id) DO NOTHING
