"""Rules without I/O: states, triggers, calendars, retries, misfires, overlaps. No clock, no SQL."""
