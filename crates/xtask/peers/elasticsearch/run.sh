#!/bin/sh
# run.sh HTTP_PORT DATA_DIR TRANSPORT_PORT [setting=value ...]: one real Elasticsearch node.
here=$(cd "$(dirname "$0")" && pwd) || exit 1
exec java -Xms256m -Xmx512m -XX:+UseSerialGC -XX:TieredStopAtLevel=1 \
  -Djava.security.manager=allow -cp "$here/classes:$here/lib/*" \
  EsLauncher "$here/home" "$@"
