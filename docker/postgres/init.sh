#!/bin/sh
# Runs once, when the server's data folder is made: Dagster's database, and the target `app`, in
# which the role that migrates may create schemas and nothing more.
set -eu
psql --set ON_ERROR_STOP=1 --no-psqlrc --username "$POSTGRES_USER" --dbname postgres \
    --set dagster="$DAGSTER_DB_PASSWORD" --set migrator="$MIGRATOR_DB_PASSWORD" <<'SQL'
CREATE ROLE dagster LOGIN PASSWORD :'dagster';
CREATE DATABASE dagster OWNER dagster;
CREATE ROLE migrator LOGIN PASSWORD :'migrator';
CREATE DATABASE app;
GRANT CREATE ON DATABASE app TO migrator;
SQL
