-- wake_addresses.sql: where the live sessions can be woken
SELECT wake_address FROM $schema.worker_sessions WHERE state = 'live' AND wake_address <> ''
