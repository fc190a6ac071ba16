-- held_limits.sql: the next names of limits that hold runs back, by one index step each
WITH RECURSIVE q(name) AS (
  SELECT min(resource) FROM holds WHERE resource > :after
  UNION ALL
  SELECT (SELECT min(resource) FROM holds WHERE resource > q.name) FROM q WHERE q.name IS NOT NULL)
SELECT name FROM q WHERE name IS NOT NULL LIMIT :n
