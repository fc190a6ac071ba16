-- insert_blobs.sql: keep large values; one that is there already stays as it is
INSERT INTO $schema.blobs (key, body, created_at) SELECT * FROM unnest(%s::text[], %s::bytea[], %s::timestamptz[])
ON CONFLICT (key) DO NOTHING
