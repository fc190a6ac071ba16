-- renew_lock.sql: renew the lease of a lock that its holder still holds; no row means that it is lost for ever
UPDATE locks SET lease_until = :lease_now + :ttl_us
 WHERE name = :name AND holder = :holder AND fence = :fence AND boot_id = :boot_id AND lease_until > :lease_now
