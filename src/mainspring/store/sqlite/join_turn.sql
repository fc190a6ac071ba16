-- join_turn.sql: give ready runs their turns, or without one that which is being served where they stand now
UPDATE runs SET turn = coalesce(?, (SELECT k.turn FROM key_turns k
                                     WHERE k.queue = runs.queue AND k.rank = 9 - runs.priority AND k.key = ''), 0)
 WHERE id = ? AND state = 'ready'
