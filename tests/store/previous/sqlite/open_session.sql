-- open_session.sql: begin the life of a session with a lease
INSERT INTO worker_sessions (id, kind, name, host, pid, boot_id, version, tasks, queues, slots, wake_address, state,
                             started_at, seen_at, lease_until)
VALUES (:id, :kind, :name, :host, :pid, :boot_id, :version, :tasks, :queues, :slots, :wake_address, 'live', :now, :now,
        :lease_now + :ttl_us)
