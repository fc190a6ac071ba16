"""Use cases, one module each: enqueue, fire, keep schedules, steer runs, maintain."""
