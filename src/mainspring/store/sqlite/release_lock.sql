-- release_lock.sql: give a lock back; its fence stays, so that the next one is higher
UPDATE locks SET holder = NULL, lease_until = NULL WHERE name = :name AND holder = :holder AND fence = :fence
