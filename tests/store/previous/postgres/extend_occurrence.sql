-- extend_occurrence.sql: let a stretch of equal outcomes that ends at the mark grow
UPDATE $schema.occurrences SET until_at = %(until_at)s, n = n + %(n)s
 WHERE schedule_id = %(schedule_id)s AND until_at = %(mark)s AND outcome = %(outcome)s
   AND cause IS NOT DISTINCT FROM %(cause)s AND reason = %(reason)s AND spec_version = %(spec_version)s
   AND fire_at = (SELECT max(fire_at) FROM $schema.occurrences WHERE schedule_id = %(schedule_id)s)
