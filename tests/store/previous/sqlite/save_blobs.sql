-- save_blobs.sql: keep large values and logs; a later state of the same log replaces it
INSERT INTO blobs (key, body, created_at) VALUES (?, ?, ?) ON CONFLICT (key) DO UPDATE SET body = excluded.body
