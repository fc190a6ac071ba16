-- insert_blobs.sql: keep large values; one that is there already stays as it is
INSERT INTO blobs (key, body, created_at) VALUES (?, ?, ?) ON CONFLICT (key) DO NOTHING
