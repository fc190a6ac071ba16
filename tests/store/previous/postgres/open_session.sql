-- open_session.sql: begin the life of a session with a lease
INSERT INTO $schema.worker_sessions (id, kind, name, host, pid, boot_id, version, tasks, queues, slots, wake_address, state,
                             started_at, seen_at, lease_until)
VALUES (%(id)s, %(kind)s, %(name)s, %(host)s, %(pid)s, %(boot_id)s, %(version)s, %(tasks)s, %(queues)s, %(slots)s,
        %(wake_address)s, 'live', %(now)s, %(now)s,
        coalesce(%(lease_now)s, clock_timestamp()) + %(ttl_us)s * interval '1 microsecond')
