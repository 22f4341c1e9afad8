#!/usr/bin/env bash
# usage: scripts/packages.sh [build] [python] [format] [fuzz] [emoji]
# Installs through apt whatever of these groups is missing. Where apt or the right to use it is
# missing, lists what to install and fails, unless all of it is optional.
set -euo pipefail

missing=() packages=() needed=0

have_command() {
  local name
  for name in "$@"; do
    command -v "$name" >/dev/null && return 0
  done
  return 1
}

have_header() {
  local folder
  for folder in /usr/include /usr/local/include "/usr/include/$(uname -m)-linux-gnu" ${CPATH:+${CPATH//:/ }}; do
    [ -e "$folder/$1" ] && return 0
  done
  return 1
}

have_file() { [ -e "$1" ]; }

have_clang_format() {
  have_command clang-format-14 || clang-format --version 2>/dev/null | grep -q 'version 14\.'
}

have_fuzzer() {
  have_command clang++ &&
    echo 'extern "C" int LLVMFuzzerTestOneInput(const unsigned char*, long) { return 0; }' |
    clang++ -x c++ -fsanitize=fuzzer,address - -o /dev/null 2>/dev/null
}

# A Python that pip has torch wheels for, able to make virtual environments.
have_python() { "$(dirname "$0")/python.sh" >/dev/null; }

# check needed|optional DESCRIPTION PACKAGES PROBE...
check() {
  local need=$1 description=$2 names=$3
  shift 3
  if "$@"; then return; fi
  missing+=("$description [$names]")
  # shellcheck disable=SC2206
  packages+=($names)
  if [ "$need" = needed ]; then needed=1; fi
}

check_build() {
  check needed "a C++20 compiler" g++ have_command c++ g++ clang++
  check needed "CMake 3.22 or newer" cmake have_command cmake
  check needed "ICU's headers" libicu-dev have_header unicode/normalizer2.h
  check needed "libarchive's headers" libarchive-dev have_header archive.h
  check needed "OpenSSL's headers" libssl-dev have_header openssl/evp.h
  check needed "yaml-cpp's headers" libyaml-cpp-dev have_header yaml-cpp/yaml.h
  check needed "zlib's headers" zlib1g-dev have_header zlib.h
  check optional "Chart.js (else reports have no charts)" libjs-chart.js have_file /usr/share/javascript/chart.js/chart.min.js
  check optional "Gloo's headers (else nothing is shared by processes)" libgloo-dev have_header gloo/context.h
  check optional "Ninja (else make)" ninja-build have_command ninja
  check optional "ccache" ccache have_command ccache
  check optional "GoogleTest (else CMake downloads it)" libgtest-dev have_header gtest/gtest.h
  check optional "cxxopts (else CMake downloads it)" libcxxopts-dev have_header cxxopts.hpp
  check optional "nlohmann-json (else CMake downloads it)" nlohmann-json3-dev have_header nlohmann/json.hpp
  check optional "stb (else CMake downloads it)" libstb-dev have_header stb/stb_image.h
}

check_python() {
  check needed "Python 3.10 to 3.14 with venv (or set Torch_DIR to a LibTorch >= 2.11)" \
    "python3 python3-venv" have_python
}

check_format() { check needed "clang-format 14" clang-format-14 have_clang_format; }

check_fuzz() {
  local runtime=""
  if apt-cache show libclang-rt-dev >/dev/null 2>&1; then runtime=libclang-rt-dev; fi
  check needed "clang with libFuzzer" "clang $runtime" have_fuzzer
}

check_emoji() {
  check_python
  check needed "Noto's colour emoji" fonts-noto-color-emoji \
    test -e /usr/share/fonts/truetype/noto/NotoColorEmoji.ttf
  check needed "Unicode's emoji names" unicode-data test -e /usr/share/unicode/emoji/emoji-test.txt
}

as_root() {
  if [ "$(id -u)" = 0 ]; then
    env "$@"
  elif sudo -n true 2>/dev/null || { have_command sudo && [ -t 0 ]; }; then
    sudo env "$@"
  else
    return 1
  fi
}

install_packages() {
  have_command apt-get || return 1
  echo "Installing ${packages[*]}" >&2
  as_root apt-get -o Acquire::Retries=3 update -q >&2 || true
  as_root DEBIAN_FRONTEND=noninteractive apt-get -o Acquire::Retries=3 install -y -q \
    --no-install-recommends "${packages[@]}" >&2
}

for group in "$@"; do "check_$group"; done
[ ${#missing[@]} -gt 0 ] || exit 0
if install_packages; then exit 0; fi
echo "These are missing and could not be installed here [Debian's and Ubuntu's package names]:" >&2
printf '  - %s\n' "${missing[@]}" >&2
[ "$needed" = 0 ] || { echo "Install them, then run make again." >&2; exit 1; }
