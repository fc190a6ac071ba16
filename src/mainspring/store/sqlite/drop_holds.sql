-- drop_holds.sql: let these runs be judged again by the limits that held them
DELETE FROM holds WHERE run_id IN (SELECT value FROM json_each(:ids)) RETURNING run_id
