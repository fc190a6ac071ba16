-- save_blobs.sql: keep large values and logs; a later state of the same log replaces it
INSERT INTO $schema.blobs (key, body, created_at) SELECT * FROM unnest(%s::text[], %s::bytea[], %s::timestamptz[])
ON CONFLICT (key) DO UPDATE SET body = excluded.body
