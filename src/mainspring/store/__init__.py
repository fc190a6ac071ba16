"""The database: tables, migrations and statements, the same behaviour on SQLite and PostgreSQL."""
