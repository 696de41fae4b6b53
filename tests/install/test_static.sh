#!/bin/sh
# The static library, installed from this build.
. "$(dirname "$0")/common.sh"

clear "$WORK/static" && mkdir "$WORK/static/out"
"$CMAKE" --install "$BUILD" --prefix "$WORK/static/usr" >/dev/null
check_files "$WORK/static/usr"
check_version_request "$WORK/static/usr" "$WORK/static/out"
check_examples "$WORK/static/usr" "$WORK/static/out"
