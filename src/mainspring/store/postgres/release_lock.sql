-- release_lock.sql: give a lock back; its fence stays, so that the next one is higher
UPDATE $schema.locks SET holder = NULL, lease_until = NULL
 WHERE name = %(name)s AND holder = %(holder)s AND fence = %(fence)s
