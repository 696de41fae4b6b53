#!/bin/sh
# The Debian packages: their facts, and that what they unpack works. Skipped where there is no dpkg.
. "$(dirname "$0")/common.sh"

command -v dpkg-deb >/dev/null && command -v dpkg-shlibdeps >/dev/null || exit 77

clear "$WORK/packages" && mkdir "$WORK/packages/out"
(cd "$WORK/packages" && "$(dirname "$CMAKE")/cpack" --config "$PACKAGE_BUILD/CPackConfig.cmake" >cpack.log 2>&1) ||
  { cat "$WORK/packages/cpack.log"; fail 'cpack'; }
for package in "$WORK"/packages/*.deb; do dpkg-deb --extract "$package" "$WORK/packages/root"; done

# field PACKAGE NAME
field() { dpkg-deb --field "$WORK"/packages/"$1"_*.deb "$2"; }
expect 'packages' "$(ls "$WORK"/packages/*.deb | wc -l)" 6
for name in lasnet lasnet-bench lasnet-report lasnet-serve liblasnet-dev; do
  expect "$name, Maintainer" "$(field $name Maintainer)" 'lasnet developers'
  [ -s "$WORK/packages/root/usr/share/doc/$name/copyright" ] || fail "$name has no copyright file"
done
case $(field lasnet Depends) in *libc6*libjpeg*) ;; *) fail "Depends of lasnet: $(field lasnet Depends)" ;; esac
library=$(basename "$(ls "$WORK"/packages/liblasnet[0-9]*.deb)" | cut -d _ -f 1)
expect 'Depends of liblasnet-dev' "$(field liblasnet-dev Depends)" "$library (= $(field "$library" Version))"
case $(field lasnet Depends) in *dnnl*) fail 'lasnet depends on what only the benchmark needs' ;; esac
case $(field lasnet Depends) in *httplib*) fail 'lasnet depends on what only the server needs' ;; esac
case $(field "$library" Depends) in *libjpeg*libstdc++6*) ;; *) fail "Depends: $(field "$library" Depends)" ;; esac

check_version "$WORK/packages/root/usr"
check_examples "$WORK/packages/root/usr" "$WORK/packages/out"
