# Sourced by the tests: how an installed tree is checked. Everything is compared with what the installed program says.
set -eu

fail() { echo "FAILED: $*" >&2; exit 1; }
expect() { [ "$2" = "$3" ] || fail "$1: got '$2', expected '$3'"; }
one_of() { ls -d "$@" 2>/dev/null | head -n 1; }

# clear DIR: an empty folder.
clear() { rm -rf "$1" && mkdir -p "$1"; }

# build_example PREFIX NAME OUT: configures with nothing but find_package(lasnet) and builds.
build_example() {
  "$CMAKE" -S "$SOURCE/examples/$2" -B "$3/$2" -DCMAKE_PREFIX_PATH="$1" -DCMAKE_CXX_COMPILER="$CXX" >"$3/$2.log" 2>&1 &&
    "$CMAKE" --build "$3/$2" >>"$3/$2.log" 2>&1 || { cat "$3/$2.log"; fail "example $2"; }
}

# answer PREFIX MODEL PHOTO: class and computed share as the program reports them, in the examples' words.
answer() {
  "$1/bin/lasnet" run "$2" "$3" --json | python3 -c '
import json, sys
image = json.load(sys.stdin)["images"][0]
print("%s, from %.1f %% of the MACs" % (image["top"][0]["class"], 100 * image["macs_ratio"]))'
}

# check_examples PREFIX OUT: builds and runs every example, and the first once more by pkg-config.
check_examples() {
  prefix=$1 out=$2
  model=$prefix/share/lasnet/models/demo.safetensors
  photo=$prefix/share/lasnet/samples/bird_nuthatch.jpg
  expected=$(answer "$prefix" "$model" "$photo")
  for example in classify video threads; do build_example "$prefix" $example "$out"; done

  expect classify "$("$out/classify/classify" "$model" "$photo")" "$expected"
  if message=$("$out/classify/classify" "$out/absent" "$photo" 2>&1); then fail 'a missing model is no error'; fi
  case $message in *"$out/absent"*) ;; *) fail "the error does not name the file: $message" ;; esac

  set -- $(python3 -c 'import PIL.Image, sys; print(*PIL.Image.open(sys.argv[1]).size)' "$photo")
  expect video "$("$WRITE_FRAMES" "$photo" 2 | "$out/video/video" "$model" "$1" "$2")" \
    "frame 0: $expected
frame 1: $expected"

  answers=$("$out/threads/threads" "$model" "$prefix"/share/lasnet/samples/*.jpg)
  expect 'threads, lines' "$(echo "$answers" | wc -l)" 6
  echo "$answers" | grep -qxF "$photo: ${expected%%,*}" || fail "threads: $answers"

  PKG_CONFIG_PATH=$(dirname "$(find "$prefix" -name lasnet.pc)") && export PKG_CONFIG_PATH
  "$CXX" -std=c++20 "$SOURCE/examples/classify/classify.cc" -o "$out/by_pkg_config" $(pkg-config --cflags --libs lasnet)
  library_path=$(dirname "$(find "$prefix" -name 'liblasnet.*' | head -n 1)")
  expect pkg-config "$(LD_LIBRARY_PATH=$library_path "$out/by_pkg_config" "$model" "$photo")" "$expected"
}

# check_files PREFIX: what must, and what must not be in a tree.
check_files() {
  headers=$1/include/lasnet
  for header in "$headers"/*.h; do
    echo "#include <lasnet/$(basename "$header")>" | "$CXX" -std=c++20 -fsyntax-only -Wall -Wextra -Werror \
      -I "$1/include" -x c++ - || fail "$header does not compile by itself"
  done
  [ ! -e "$headers/train.h" ] || fail 'train.h is installed, its library is not'
  if grep -lE 'nlohmann|fmt[/:]|torch' "$headers"/*.h; then fail 'these headers name types of other libraries'; fi
  expect 'version of the program' "$("$1/bin/lasnet" --version)" \
    "lasnet $(PKG_CONFIG_PATH=$(dirname "$(find "$1" -name lasnet.pc)") pkg-config --modversion lasnet)"
}

# check_version_request PREFIX OUT: another major version is refused.
check_version_request() {
  clear "$2/version"
  printf 'cmake_minimum_required(VERSION 3.16)\nproject(version NONE)\nfind_package(lasnet 99 REQUIRED)\n' \
    >"$2/version/CMakeLists.txt"
  if "$CMAKE" -S "$2/version" -B "$2/version/build" -DCMAKE_PREFIX_PATH="$1" >"$2/version.log" 2>&1; then
    fail 'version 99 was found'
  fi
  grep -q 'compatible with requested version "99"' "$2/version.log" || { cat "$2/version.log"; fail 'another error'; }
}
