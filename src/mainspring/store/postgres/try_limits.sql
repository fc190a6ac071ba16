-- try_limits.sql: the same for those limits about which nobody is deciding at this moment; returns their names
SELECT x.name FROM unnest(%(names)s::text[]) AS x(name)
 WHERE pg_try_advisory_xact_lock(hashtextextended('$schema.limit:' || x.name, 0))
