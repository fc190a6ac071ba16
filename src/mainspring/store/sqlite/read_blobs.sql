-- read_blobs.sql: large values by their keys
SELECT key, body FROM blobs WHERE key IN (SELECT value FROM json_each(:keys))
