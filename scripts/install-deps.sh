#!/bin/sh
# Installs what building lasnet needs from Debian or Ubuntu packages. Idempotent: what is installed is skipped, and
# when nothing is missing apt is not called at all.
#
#   scripts/install-deps.sh [--no-train] [--fuzz] [--tidy] [--docs] [--data] [--clients] [--aarch64]
#   scripts/install-deps.sh --train-available     prints ON if libtorch is installed or can be, else OFF
set -eu

# The compiler and tools; the libraries of engine and program; tests and benchmarks; Python for scripts/ and python/. What
# else the Python package is built with comes from PyPI (scripts/python_wheel.sh).
packages='g++ cmake ninja-build ccache clang-format
  libcli11-dev libfmt-dev libspdlog-dev nlohmann-json3-dev libtomlplusplus-dev libjpeg-dev libpng-dev libwebp-dev
  zlib1g-dev libcpp-httplib-dev prometheus-cpp-dev pkgconf libgtest-dev libgmock-dev libbenchmark-dev libdnnl-dev locales
  python3 python3-numpy python3-pil python3-onnx python3-dev python3-venv'
# Training. OpenMP's OpenBLAS shares its thread pool with libtorch; the pthread one fights it for the cores.
train_packages='libtorch-dev libgloo-dev libopenblas0-openmp libssl-dev'
# Tests of lasnet.torch, which skip themselves on a release without one of these.
torch_packages='python3-torch python3-torchvision python3-pytest'
# What the server's clients and the report's page are tested with; each test that lacks one skips itself.
client_packages='chromium nginx-light openssl prometheus systemd wrk'
fuzz_packages='clang'
tidy_packages='clang-tidy-16 libomp-16-dev'
docs_packages='doxygen'
# The compiler for AArch64, its libraries, and what runs its programs here (scripts/check_aarch64).
aarch64_packages='g++-aarch64-linux-gnu qemu-user libfmt-dev:arm64 libspdlog-dev:arm64 libtomlplusplus-dev:arm64
  libjpeg-dev:arm64 libpng-dev:arm64 libwebp-dev:arm64 zlib1g-dev:arm64 libgtest-dev:arm64 libgmock-dev:arm64'
# Photographs for the demo's data set (docs/demo-data.md), and pip for the weights that it starts from.
data_packages='tuxpaint-stamps-default mate-backgrounds lomiri-wallpapers-16.04 plasma-workspace-wallpapers
  gcompris-qt-data python3-pip'

usage() { sed -n '2,6s/^# \{0,1\}//p' "$0"; }
say() { printf 'install-deps: %s\n' "$*"; }

# A name without an architecture is of the native one, though the package may be there for others too.
is_installed() {
  case $1 in *:*) wanted=${1#*:} ;; *) wanted=$(dpkg --print-architecture) ;; esac
  dpkg-query -W -f='${db:Status-Status} ${Architecture}\n' "$1" 2>/dev/null | grep -qxE "installed (all|$wanted)"
}
has_candidate() { apt-cache policy "$1" 2>/dev/null | grep -qE 'Candidate: [^(]'; }
has_apt() { command -v apt-get >/dev/null && command -v dpkg-query >/dev/null; }
# Without package lists (a fresh container) nothing has a candidate yet, which says nothing about the release.
has_lists() { ls /var/lib/apt/lists/*Packages* >/dev/null 2>&1; }

train_available() {
  if has_apt && has_lists && ! is_installed libtorch-dev && ! has_candidate libtorch-dev; then
    echo OFF
  else
    echo ON
  fi
}

train=yes
foreign=
for argument; do
  case $argument in
    --no-train) train=no ;;
    --fuzz) packages="$packages $fuzz_packages" ;;
    --tidy) packages="$packages $tidy_packages" ;;
    --docs) packages="$packages $docs_packages" ;;
    --data) packages="$packages $data_packages" ;;
    --aarch64) packages="$packages $aarch64_packages" foreign=arm64 ;;
    --clients) packages="$packages $client_packages" ;;
    --train-available) train_available; exit ;;
    -h | --help) usage; exit ;;
    *) say "unknown option $argument" >&2; usage >&2; exit 2 ;;
  esac
done

if ! has_apt; then
  [ $train = no ] || packages="$packages $train_packages"
  say "this is not Debian or Ubuntu. Install the equivalents of these packages, then run 'make build':" >&2
  printf '  %s\n' $packages >&2
  exit 1
fi

missing_of() { for package; do is_installed "$package" || printf ' %s' "$package"; done; }
# What the release has, as far as is known.
offered_of() { for package; do { has_lists && ! has_candidate "$package"; } || printf ' %s' "$package"; done; }

missing=$(missing_of $packages)
train_missing=
torch_missing=
[ $train = no ] || train_missing=$(missing_of $train_packages)
[ $train = no ] || torch_missing=$(offered_of $(missing_of $torch_packages))
if [ -z "$missing$train_missing$torch_missing" ]; then
  say 'everything is installed'
  exit
fi

as_root=
if [ "$(id -u)" != 0 ]; then
  as_root=sudo
  command -v sudo >/dev/null || {
    say "not root and no sudo. As root: apt-get install$missing$train_missing$torch_missing" >&2
    exit 1
  }
fi

[ -z "$foreign" ] || $as_root dpkg --add-architecture "$foreign"
say 'updating the package lists'
$as_root apt-get update -q
if [ -n "$train_missing" ] && ! has_candidate libtorch-dev; then
  say 'this release has no libtorch-dev: leaving training out (LASNET_TRAIN=OFF)'
  train_missing=
fi
torch_missing=$(offered_of $torch_missing)
[ -n "$missing$train_missing$torch_missing" ] || exit 0
say "installing:$missing$train_missing$torch_missing"
$as_root env DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends \
  $missing $train_missing $torch_missing
