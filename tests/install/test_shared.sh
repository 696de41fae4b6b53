#!/bin/sh
# The shared library: the examples, and that it exports its API and nothing else.
. "$(dirname "$0")/common.sh"

(cd "$SOURCE" && "$CMAKE" --preset package -B "$PACKAGE_BUILD" -DLASNET_TRAIN=OFF -DLASNET_WERROR="$WERROR" \
  -DCMAKE_CXX_COMPILER="$CXX" >/dev/null)
"$CMAKE" --build "$PACKAGE_BUILD" >"$WORK/build.log" || { cat "$WORK/build.log"; fail 'build'; }

clear "$WORK/shared" && mkdir "$WORK/shared/out"
"$CMAKE" --install "$PACKAGE_BUILD" --prefix "$WORK/shared/usr" >/dev/null
check_examples "$WORK/shared/usr" "$WORK/shared/out"

# A public function without LASNET_EXPORT would be found missing only by its first user.
if grep -nE '^[A-Za-z][A-Za-z0-9_:<>, ]* [a-z_]+\(' "$WORK"/shared/usr/include/lasnet/*.h | grep -vE 'LASNET_EXPORT|inline'; then
  fail 'these functions lack LASNET_EXPORT'
fi
# The same of types that define members elsewhere.
awk '{ sub(/ *\/\/.*/, "") }
     /^(struct|class) / { exported = /LASNET_EXPORT/ }
     /^  [A-Za-z][^{]*\)( const)?( noexcept)?;$/ && !/\(\*|LASNET_EXPORT|^  return / && !exported { print FILENAME ": " $0; found = 1 }
     END { exit found }' "$WORK"/shared/usr/include/lasnet/*.h || fail 'the types of these members lack LASNET_EXPORT'
library=$(find "$WORK/shared/usr" -name 'liblasnet.so')
symbols=$(nm -DC --defined-only "$library")
echo "$symbols" | grep -q ' T lasnet::Session::run(' || fail 'Session::run is not exported'
echo "$symbols" | grep -q 'typeinfo for lasnet::Error' || fail "Error's type is not exported"
# Weak symbols of the standard library's templates are every C++ library's; others would be leaks.
leaks=$(echo "$symbols" | cut -c 18- | grep -vE '^[A-Za-z] (lasnet::|(typeinfo|vtable|typeinfo name) for lasnet::)' |
  grep -vE '^[WVu] (.*std::|.*__gnu_cxx::|guard variable for std::)' || true)
[ -z "$leaks" ] || fail "exported by mistake: $leaks"
if echo "$symbols" | grep -E 'lasnet::(ThreadPool|CpuRunner|fail|read_file)'; then fail 'internals are exported'; fi
if readelf -d "$WORK/shared/out/classify/classify" | grep -E 'NEEDED.*(fmt|jpeg|png)'; then
  fail 'a user of the shared library links its dependencies'
fi
