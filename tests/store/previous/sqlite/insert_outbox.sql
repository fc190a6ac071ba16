-- insert_outbox.sql: leave messages for those who must hear of this transaction
INSERT INTO outbox (id, topic, body, created_at) VALUES (?, ?, ?, ?) ON CONFLICT (id) DO NOTHING
