#!/bin/bash
# A PostgreSQL with nothing in it. As the user postgres.
set -eu
initdb -D /tmp/data -A trust -U postgres --no-sync --locale=C -E UTF8 >/tmp/initdb.log
echo 'host all all 0.0.0.0/0 trust
host all all ::/0 trust' >>/tmp/data/pg_hba.conf
exec postgres -D /tmp/data -k /tmp -c 'listen_addresses=*' -c fsync=off -c shared_buffers=16MB -c max_connections=20
