-- claim_runs.sql: open an attempt of each of these runs; the second half of a claim, in the transaction of pick_ready
UPDATE runs SET state = 'running', state_reason = NULL, attempt = attempt + 1, session_id = :session, claim_id = :claim,
                started_at = :now
 WHERE id IN (SELECT value FROM json_each(:ids)) AND state = 'ready'
RETURNING id, attempt, task, queue, 9 - priority, turn, seq, tries, losses, max_tries, at_most_once, due_at, created_at,
          schedule_id, fire_at, returns, expires_at, isolated_losses,
          (SELECT parameters FROM run_payloads p WHERE p.run_id = runs.id), uses
