-- extend_occurrence.sql: let a stretch of equal outcomes that ends at the mark grow
UPDATE occurrences SET until_at = :until_at, n = n + :n
 WHERE schedule_id = :schedule_id AND until_at = :mark AND outcome = :outcome AND cause IS :cause AND reason = :reason
   AND spec_version = :spec_version
   AND fire_at = (SELECT max(fire_at) FROM occurrences WHERE schedule_id = :schedule_id)
