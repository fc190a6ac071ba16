-- insert_holds.sql: remember what holds runs back, until when as far as that is known, and at which place they go on waiting
INSERT INTO $schema.holds (resource, until_at, held_at, queue, rank, turn, seq, run_id)
SELECT * FROM unnest(%s::text[], %s::timestamptz[], %s::timestamptz[], %s::text[], %s::smallint[], %s::bigint[], %s::bigint[],
                     %s::uuid[])
ON CONFLICT (run_id) DO NOTHING
