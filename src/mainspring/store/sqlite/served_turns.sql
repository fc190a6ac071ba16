-- served_turns.sql: where keys take turns: the turn of whoever comes now, and that of the best ready run
SELECT t.queue, t.rank, t.turn,
       (SELECT r.turn FROM ready r WHERE r.queue = t.queue AND r.rank = t.rank ORDER BY r.turn, r.seq LIMIT 1)
  FROM key_turns t WHERE t.key = ''
