-- check_lock.sql: whether a lock is held by who says so; it stays so until the transaction ends, which alone may write
SELECT 1 FROM locks
 WHERE name = :name AND holder = :holder AND fence = :fence AND boot_id = :boot_id AND lease_until > :lease_now
