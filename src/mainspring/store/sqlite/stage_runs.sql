-- stage_runs.sql: make scheduled or waiting runs ready, each with its place in the order of arrival
UPDATE runs SET state = 'ready', state_reason = NULL, seq = ?,
                turn = coalesce(?, (SELECT k.turn FROM key_turns k
                                     WHERE k.queue = runs.queue AND k.rank = 9 - runs.priority AND k.key = ''), 0)
 WHERE id = ? AND state IN ('scheduled', 'waiting')
