-- edit_payloads.sql: replace the parameters of runs
UPDATE $schema.run_payloads p SET parameters = x.parameters
  FROM unnest(%s::text[], %s::uuid[]) AS x(parameters, run_id) WHERE p.run_id = x.run_id
