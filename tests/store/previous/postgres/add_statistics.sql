-- add_statistics.sql: add to this session's own figures of a minute
INSERT INTO $schema.stats AS s (minute, task, queue, session_id, succeeded, failed, retried, other, seconds, wait_seconds,
                                longest)
SELECT * FROM unnest(%s::timestamptz[], %s::text[], %s::text[], %s::uuid[], %s::bigint[], %s::bigint[], %s::bigint[],
                     %s::bigint[], %s::float8[], %s::float8[], %s::float8[])
ON CONFLICT (minute, task, queue, session_id) DO UPDATE
   SET succeeded = s.succeeded + excluded.succeeded, failed = s.failed + excluded.failed,
       retried = s.retried + excluded.retried, other = s.other + excluded.other, seconds = s.seconds + excluded.seconds,
       wait_seconds = s.wait_seconds + excluded.wait_seconds, longest = greatest(s.longest, excluded.longest)
