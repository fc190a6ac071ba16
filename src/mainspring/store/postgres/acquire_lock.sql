-- acquire_lock.sql: take a lock that nobody holds, or whose holder's lease has run out; returns its new fence
INSERT INTO $schema.locks AS l (name, fence, holder, boot_id, acquired_at, lease_until)
VALUES (%(name)s, 1, %(holder)s, %(boot_id)s, %(now)s,
        coalesce(%(lease_now)s, clock_timestamp()) + %(ttl_us)s * interval '1 microsecond')
ON CONFLICT (name) DO UPDATE
   SET fence = l.fence + 1, holder = excluded.holder, boot_id = excluded.boot_id, acquired_at = excluded.acquired_at,
       lease_until = excluded.lease_until
 WHERE l.holder IS NULL OR l.lease_until <= coalesce(%(lease_now)s, clock_timestamp())
RETURNING fence
