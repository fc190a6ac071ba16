-- add_statistics.sql: add to this session's own figures of a minute
INSERT INTO stats (minute, task, queue, session_id, succeeded, failed, retried, other, seconds, wait_seconds, longest)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (minute, task, queue, session_id) DO UPDATE
   SET succeeded = succeeded + excluded.succeeded, failed = failed + excluded.failed, retried = retried + excluded.retried,
       other = other + excluded.other, seconds = seconds + excluded.seconds,
       wait_seconds = wait_seconds + excluded.wait_seconds, longest = max(longest, excluded.longest)
