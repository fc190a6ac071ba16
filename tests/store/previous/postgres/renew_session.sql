-- renew_session.sql: renew the lease of a live session whose lease has not run out; no row means it is dead for ever
UPDATE $schema.worker_sessions
   SET lease_until = coalesce(%(lease_now)s, clock_timestamp()) + %(ttl_us)s * interval '1 microsecond', seen_at = %(now)s
 WHERE id = %(session)s AND state = 'live' AND lease_until > coalesce(%(lease_now)s, clock_timestamp())
