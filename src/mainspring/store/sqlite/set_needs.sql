-- set_needs.sql: write down what runs need, as their worker has found out
UPDATE runs SET uses = ?, concurrency_key = coalesce(concurrency_key, ?)
 WHERE id = ? AND state = 'running' AND attempt = ? AND session_id = ?
