-- insert_runs.sql: add runs; one that is there already (a repeated transaction) stays as it is.
-- A run without a turn of its own joins the turn that is being served in its queue and rank.
INSERT INTO runs (id, task, queue, priority, state, kind, max_tries, at_most_once, schedule_id, fire_at, member, seq,
                  due_at, expires_at, labels, owner_id, params_version, snapshot_hash, created_at, replay_of, uses,
                  concurrency_key, root_id, needs_left, awaited, turn)
SELECT x.id, x.task, x.queue, x.priority, x.state, x.kind, x.max_tries, x.at_most_once, x.schedule_id, x.fire_at, x.member,
       x.seq, x.due_at, x.expires_at, x.labels, x.owner_id, x.params_version, x.snapshot_hash, x.created_at, x.replay_of,
       x.uses, x.concurrency_key, x.root_id, x.needs_left, x.awaited,
       coalesce(x.turn, (SELECT k.turn FROM key_turns k WHERE k.queue = x.queue AND k.rank = 9 - x.priority AND k.key = ''), 0)
  FROM (SELECT ? AS id, ? AS task, ? AS queue, ? AS priority, ? AS state, ? AS kind, ? AS max_tries, ? AS at_most_once,
               ? AS schedule_id, ? AS fire_at, ? AS member, ? AS seq, ? AS due_at, ? AS expires_at, ? AS labels,
               ? AS owner_id, ? AS params_version, ? AS snapshot_hash, ? AS created_at, ? AS replay_of, ? AS uses,
               ? AS concurrency_key, ? AS turn, ? AS root_id, ? AS needs_left, ? AS awaited) x
 WHERE true
ON CONFLICT (id) DO NOTHING
