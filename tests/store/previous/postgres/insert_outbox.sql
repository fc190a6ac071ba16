-- insert_outbox.sql: leave messages for those who must hear of this transaction
INSERT INTO $schema.outbox (id, topic, body, created_at)
SELECT * FROM unnest(%s::uuid[], %s::text[], %s::text[], %s::timestamptz[]) ON CONFLICT (id) DO NOTHING
