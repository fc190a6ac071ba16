-- check_lock.sql: whether a lock is held by who says so; it stays so until the transaction ends, which alone keeps the row
SELECT 1 FROM $schema.locks
 WHERE name = %(name)s AND holder = %(holder)s AND fence = %(fence)s
   AND lease_until > coalesce(%(lease_now)s, clock_timestamp()) FOR SHARE
