-- read_blobs.sql: large values by their keys
SELECT key, body FROM $schema.blobs WHERE key = ANY(%(keys)s::text[])
