-- acquire_lock.sql: take a lock that nobody holds, or whose holder's lease has run out; returns its new fence
INSERT INTO locks (name, fence, holder, boot_id, acquired_at, lease_until)
VALUES (:name, 1, :holder, :boot_id, :now, :lease_now + :ttl_us)
ON CONFLICT (name) DO UPDATE
   SET fence = fence + 1, holder = excluded.holder, boot_id = excluded.boot_id, acquired_at = excluded.acquired_at,
       lease_until = excluded.lease_until
 WHERE locks.holder IS NULL OR locks.lease_until <= :lease_now OR locks.boot_id <> :boot_id
RETURNING fence
