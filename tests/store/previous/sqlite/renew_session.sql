-- renew_session.sql: renew the lease of a live session whose lease has not run out; no row means it is dead for ever
UPDATE worker_sessions SET lease_until = :lease_now + :ttl_us, seen_at = :now
 WHERE id = :session AND state = 'live' AND lease_until > :lease_now
