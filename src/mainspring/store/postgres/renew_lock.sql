-- renew_lock.sql: renew the lease of a lock that its holder still holds; no row means that it is lost for ever
UPDATE $schema.locks SET lease_until = coalesce(%(lease_now)s, clock_timestamp()) + %(ttl_us)s * interval '1 microsecond'
 WHERE name = %(name)s AND holder = %(holder)s AND fence = %(fence)s
   AND lease_until > coalesce(%(lease_now)s, clock_timestamp())
