-- lock_limits.sql: let nobody else decide about these limits until we commit, in one order for all
SELECT pg_advisory_xact_lock(k.mark)
  FROM (SELECT DISTINCT hashtextextended('$schema.limit:' || name, 0) AS mark FROM unnest(%(names)s::text[]) AS x(name)
         ORDER BY mark) k
