-- advance_schedules.sql: move the marks of schedules forward if they still stand where the plan began
UPDATE $schema.schedules s
   SET last_at = x.last_at, next_at = x.next_at, catch_up_until = x.catch_up_until, computed_with = x.computed_with
  FROM unnest(%s::timestamptz[], %s::timestamptz[], %s::timestamptz[], %s::text[], %s::uuid[], %s::int[], %s::timestamptz[],
              %s::timestamptz[])
       AS x(last_at, next_at, catch_up_until, computed_with, id, version, old_last_at, effective_at)
 WHERE s.id = x.id AND s.version = x.version AND s.last_at IS NOT DISTINCT FROM x.old_last_at
   AND s.effective_at = x.effective_at
