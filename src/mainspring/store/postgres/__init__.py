"""PostgreSQL 13 and later through psycopg 3, in a schema of its own."""
