-- drop_holdings.sql: give back what runs have taken of limits
DELETE FROM holdings WHERE run_id IN (SELECT value FROM json_each(:ids))
