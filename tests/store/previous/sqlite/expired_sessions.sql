-- expired_sessions.sql: sessions whose lease has run out, or that an earlier boot left behind; a look before the write lock
SELECT id FROM worker_sessions WHERE state = 'live' AND (lease_until <= :lease_now OR boot_id <> :boot_id) LIMIT 1
