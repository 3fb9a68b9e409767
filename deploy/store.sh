#!/bin/sh
# Starts Valkey for the embedding service alone: one user, whose password is in the file $STORE_PASSWORD_FILE, who may use
# the keys of Twotower and no command that stops, empties or configures the server. The configuration goes in by standard
# input, so that the password is in no argument and in no other file. Arguments are further lines of it: "maxmemory 1gb".
set -eu
file=${STORE_PASSWORD_FILE:-/run/secrets/store-password}
password=$(cat "$file")
[ -n "$password" ] || { echo "store: $file is empty" >&2; exit 1; }
# Acknowledged means on disk: every write is fsynced before it is answered.
exec valkey-server - <<CONFIGURATION
dir /data
appendonly yes
appendfsync always
save ""
protected-mode no
bind ${STORE_BIND:-0.0.0.0}
$(printf '%s\n' "$@")
user default off
user twotower on >$password ~tt:* resetchannels +@all -@admin -@dangerous +info +wait +bgrewriteaof
CONFIGURATION
