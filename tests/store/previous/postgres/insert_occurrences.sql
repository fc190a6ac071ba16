-- insert_occurrences.sql: write ledger rows; a fire time that has one already is an error
INSERT INTO $schema.occurrences (schedule_id, fire_at, until_at, n, local_key, spec_version, outcome, cause, reason,
                                 recorded_at)
SELECT * FROM unnest(%s::uuid[], %s::timestamptz[], %s::timestamptz[], %s::bigint[], %s::text[], %s::int[], %s::text[],
                     %s::text[], %s::text[], %s::timestamptz[])
