-- next_seq.sql: take n places in the order of arrival; returns the places, ascending
SELECT nextval('$schema.ready_seq') FROM generate_series(1, %(n)s) ORDER BY 1
