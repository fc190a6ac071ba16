-- next_seq.sql: take :n places in the order of arrival; returns the first
INSERT INTO counters (name, value) VALUES ('ready', :n) ON CONFLICT (name) DO UPDATE SET value = value + :n
RETURNING value - :n + 1
