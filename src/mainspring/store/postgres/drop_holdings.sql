-- drop_holdings.sql: give back what runs have taken of limits
DELETE FROM $schema.holdings WHERE run_id = ANY(%(ids)s::uuid[])
