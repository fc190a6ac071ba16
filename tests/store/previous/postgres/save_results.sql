-- save_results.sql: keep the results of runs; which attempt gave it is kept with it
UPDATE $schema.run_payloads p SET result = x.result, result_hash = x.hash, result_attempt = x.attempt
  FROM unnest(%s::text[], %s::text[], %s::int[], %s::uuid[]) AS x(result, hash, attempt, run_id) WHERE p.run_id = x.run_id
