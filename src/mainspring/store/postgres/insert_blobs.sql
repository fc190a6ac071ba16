-- insert_blobs.sql: keep large values, by ascending key; one that is there already stays as it is
INSERT INTO $schema.blobs (key, body, created_at)
SELECT * FROM unnest(%s::text[], %s::bytea[], %s::timestamptz[]) AS b(key, body, created_at) ORDER BY key
ON CONFLICT (key) DO NOTHING
