# shellcheck shell=bash
# What the scripts of this folder share. Sourced by bash, never run.
#
#   say WORDS…        one line about what is going to happen
#   need THING…       installs what is missing of these, or names the packages and stops
#   want THING…       the same for what is useful but not necessary: goes on without it
#   configure PRESET  cmake, quiet unless it fails
#   build PRESET …    the build, with its progress; further arguments go to cmake --build
#   limit SECONDS …   runs a command, and ends it after that time
#   start_wine        makes build/wine and starts its server, until the end of the script
#   counts PRESET     "passed failed skipped" of the preset's last ctest run
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cd "$root"

say() { printf '%s\n' "==> $*"; }
die() {
  printf '%s\n' "error: $*" >&2
  exit 1
}

cores() { nproc 2>/dev/null || sysctl -n hw.ncpu 2>/dev/null || echo 2; }
export CMAKE_BUILD_PARALLEL_LEVEL="${CMAKE_BUILD_PARALLEL_LEVEL:-$(cores)}"

# --- what is there, and how to get what is not ---

has() { command -v "$1" >/dev/null 2>&1; }

# A header in the places where systems and package managers put them.
has_header() {
  local folder
  for folder in /usr/include /usr/local/include /opt/homebrew/include /opt/local/include \
    /opt/homebrew/opt/openssl@3/include /usr/local/opt/openssl@3/include; do
    [ ! -e "$folder/$1" ] || return 0
  done
  return 1
}

has_thing() {
  case $1 in
    c++) has g++ || has clang++ || has c++ ;;
    clang) clang_command >/dev/null ;;
    fuzzer) has_fuzzer ;;
    clang-format) has clang-format || has clang-format-16 ;;
    cmake | ccache | curl | make | npm | patch | socat | strace) has "$1" ;;
    ninja) has ninja ;;
    pkg-config) has pkg-config || has pkgconf ;;
    python3) has python3 ;;
    perl) has perl && perl -MIPC::Cmd -MPod::Usage -e 1 2>/dev/null ;; # Debian's minimal one lacks them
    sanitizers) has_sanitizers ;;
    mingw) has x86_64-w64-mingw32-g++-posix ;;
    wine) [ -n "$(wine_folder)" ] ;;
    fmt) has_header fmt/format.h ;;
    catch2) has_header catch2/catch.hpp || has_header catch2/catch_all.hpp ;;
    openssl) has openssl && has_header openssl/core.h ;; # a header that OpenSSL 3 brought
    gnutls) has gnutls-cli ;;
    dig) has dig ;;
    libuv) has_header uv.h ;;
    asio) has_header asio.hpp ;;
    libevent) has_header event2/event.h ;;
    *) die "has_thing: what is $1?" ;;
  esac
}

# The clang to use, as "clang++-16": 16 or newer, by preference the one that CI uses.
clang_command() {
  local name
  for name in clang++-16 clang++-17 clang++-18 clang++-19 clang++-20 clang++-21 clang++; do
    if has "$name" && [ "$("$name" -dumpversion | cut -d. -f1)" -ge 16 ]; then
      echo "$name"
      return
    fi
  done
  return 1
}

has_sanitizers() {
  local compiler=${CXX:-c++}
  has "$compiler" || return 1
  local kind
  for kind in address,undefined thread; do
    echo 'int main() {}' |
      "$compiler" -x c++ "-fsanitize=$kind" - -o /dev/null 2>/dev/null || return 1
  done
}

has_fuzzer() {
  local clang
  clang=$(clang_command) || return 1
  echo 'extern "C" int LLVMFuzzerTestOneInput(const unsigned char *, unsigned long) { return 0; }' |
    "$clang" -x c++ -fsanitize=fuzzer - -o /dev/null 2>/dev/null
}

# Where wine64 is: Debian does not put it on the PATH.
wine_folder() {
  if [ -x /usr/lib/wine/wine64 ]; then
    echo /usr/lib/wine
  elif has wine64; then
    dirname "$(command -v wine64)"
  fi
}

package_manager() {
  local manager
  for manager in apt-get brew dnf pacman; do
    if has "$manager"; then
      echo "$manager"
      return
    fi
  done
  echo none
}

# The packages that bring a thing, with the given manager. Where there is no manager that we know,
# the names are Debian's: a person can translate them.
packages_of() {
  case $1/$2 in
    dnf/c++) echo gcc-c++ ;;
    pacman/c++) echo gcc ;;
    brew/c++) echo gcc ;;
    */c++) echo g++ ;;
    apt-get/clang | none/clang) echo clang-16 libclang-rt-16-dev ;;
    brew/clang) echo llvm ;;
    dnf/clang) echo clang compiler-rt ;;
    pacman/clang) echo clang compiler-rt ;;
    */fuzzer) packages_of "$1" clang ;;
    apt-get/ninja | dnf/ninja | none/ninja) echo ninja-build ;;
    dnf/pkg-config) echo pkgconf-pkg-config ;;
    pacman/pkg-config) echo pkgconf ;;
    pacman/python3) echo python ;;
    dnf/sanitizers) echo libasan libubsan libtsan ;;
    */sanitizers) packages_of "$1" c++ ;;
    apt-get/mingw | none/mingw) echo g++-mingw-w64-x86-64-posix ;;
    apt-get/wine | none/wine) echo wine64 ;;
    apt-get/fmt | none/fmt) echo libfmt-dev ;;
    dnf/fmt) echo fmt-devel ;;
    dnf/catch2) echo catch-devel ;;
    apt-get/openssl | none/openssl) echo libssl-dev openssl ;;
    brew/openssl) echo openssl@3 ;;
    dnf/openssl) echo openssl-devel openssl ;;
    apt-get/gnutls | none/gnutls) echo gnutls-bin ;;
    dnf/gnutls) echo gnutls-utils ;;
    apt-get/dig | none/dig) echo bind9-dnsutils ;;
    dnf/dig) echo bind-utils ;;
    brew/dig | pacman/dig) echo bind ;;
    apt-get/libuv | none/libuv) echo libuv1-dev ;;
    dnf/libuv) echo libuv-devel ;;
    apt-get/asio | none/asio) echo libasio-dev ;;
    dnf/asio) echo asio-devel ;;
    apt-get/libevent | none/libevent) echo libevent-dev ;;
    dnf/libevent) echo libevent-devel ;;
    dnf/clang-format) echo clang-tools-extra ;;
    pacman/clang-format) echo clang ;;
    apt-get/clang-format) echo clang-format-16 ;;
    *) echo "$2" ;;
  esac
}

as_root() {
  if [ "$(id -u)" = 0 ]; then "$@"; else sudo "$@"; fi
}

apt_is_fresh=
install_by_apt-get() {
  local apt=(env DEBIAN_FRONTEND=noninteractive apt-get -q -y)
  if [ -z "$apt_is_fresh" ]; then
    as_root "${apt[@]}" update || return 1
    apt_is_fresh=1
  fi
  as_root "${apt[@]}" install --no-install-recommends "$@"
}
install_by_brew() { brew install "$@"; }
install_by_dnf() { as_root dnf install -y "$@"; }
install_by_pacman() { as_root pacman -Sy --needed --noconfirm "$@"; }

# Without questions and without stdin; its words are shown only if it fails.
install_packages() {
  local manager=$1 log
  shift
  log=$(mktemp)
  if "install_by_$manager" "$@" </dev/null >"$log" 2>&1; then
    rm -f "$log"
  else
    tail -n 20 "$log" >&2
    rm -f "$log"
    return 1
  fi
}

# Those of the things that are not there, on one line.
missing_of() {
  local thing missing=()
  for thing in "$@"; do has_thing "$thing" || missing+=("$thing"); done
  printf '%s\n' "${missing[*]-}"
}

# get THING…: 0 if all of them are there, installed if need be.
get() {
  local manager missing packages
  read -r -a missing <<<"$(missing_of "$@")"
  [ ${#missing[@]} -gt 0 ] || return 0
  manager=$(package_manager)
  read -r -a packages <<<"$(for thing in "${missing[@]}"; do
    packages_of "$manager" "$thing"
  done | tr ' ' '\n' | sort -u | tr '\n' ' ')"
  if [ "$manager" = none ]; then
    printf '%s\n' "Missing here: ${missing[*]}." \
      "No package manager that this script knows (apt, Homebrew, dnf, pacman) was found." \
      "Debian's names of what is needed: ${packages[*]}" >&2
    return 1
  fi
  if [ "$manager" != brew ] && [ "$(id -u)" != 0 ] && ! has sudo; then
    printf '%s\n' "Missing here, and only root may install it: ${packages[*]}" >&2
    return 1
  fi
  say "Installing with $manager: ${packages[*]}"
  install_packages "$manager" "${packages[@]}" || return 1
  read -r -a missing <<<"$(missing_of "${missing[@]}")"
  [ ${#missing[@]} -eq 0 ] || {
    printf '%s\n' "Still missing after the installation: ${missing[*]}" >&2
    return 1
  }
}

need() { get "$@" || die "cannot go on without: $(missing_of "$@")"; }

# All at once; if that fails each alone, so that one that a system does not have does not take the
# others with it.
want() {
  local thing
  ! get "$@" 2>/dev/null || return 0
  for thing in "$@"; do
    get "$thing" || say "Going on without $thing"
  done
}

# --- building ---

# The preset whose build a test preset uses.
build_preset_of() { case $1 in poll | kqueue) echo release ;; *) echo "$1" ;; esac; }

configure() {
  local preset=$1 log=build/$1.configure.log options=()
  if [ "$preset" = tsan ] || [ "$preset" = fuzz ]; then
    local cxx
    cxx=$(clang_command) || die "no clang 16 or newer was found"
    options+=("-DCMAKE_CXX_COMPILER=$cxx" "-DCMAKE_C_COMPILER=${cxx/clang++/clang}")
  fi
  # Homebrew keeps its OpenSSL apart from the system's.
  if [ -z "${OPENSSL_ROOT_DIR:-}" ] && has brew; then
    OPENSSL_ROOT_DIR=$(brew --prefix openssl@3) && export OPENSSL_ROOT_DIR
  fi
  [ -z "${FERRY_WERROR:-}" ] || options+=("-DFERRY_WERROR=$FERRY_WERROR")
  mkdir -p build
  cmake --preset "$preset" ${options[@]+"${options[@]}"} </dev/null >"$log" 2>&1 || {
    cat "$log" >&2
    die "cmake could not configure '$preset'"
  }
}

# Ninja's own line on a terminal; elsewhere one line per tenth, and all that is no progress.
build() {
  local preset=$1
  shift
  if [ -t 1 ]; then
    NINJA_STATUS='    %f of %t  ' cmake --build --preset "$preset" "$@" </dev/null
  else
    cmake --build --preset "$preset" "$@" </dev/null 2>&1 | awk '
      match($0, /^\[[0-9]+\/[0-9]+\] /) {
        split(substr($0, 2, RLENGTH - 3), n, "/")
        tenth = int(n[1] * 10 / n[2])
        if (tenth != shown) { shown = tenth; print "    " n[1] " of " n[2]; fflush() }
        next
      }
      { print; fflush() }'
  fi || die "the build of '$preset' failed"
}

# --- running ---

# Programs of Windows run by themselves then, in a prefix of this tree. Its server stays, because it
# takes longer to start than most tests; at the end it takes with it whatever a test left running.
start_wine() {
  local folder log=build/wine.log
  folder=$(wine_folder)
  wineserver=$folder/wineserver
  [ ! -x "$folder/wineserver64" ] || wineserver=$folder/wineserver64
  export WINEPREFIX=$root/build/wine WINEDEBUG=-all
  mkdir -p "$WINEPREFIX"
  if [ ! -f "$WINEPREFIX/system.reg" ]; then
    say "Making Wine's prefix in build/wine"
    "$folder/wine64" wineboot -i </dev/null >"$log" 2>&1 || {
      tail -n 20 "$log" >&2
      die "Wine could not make its prefix"
    }
    "$wineserver" -w
  fi
  "$wineserver" -k || true
  "$wineserver" -p
  # Wine's services come with the first program and stay, and so does whatever output they were given.
  "$folder/wine64" cmd /c exit </dev/null >>"$log" 2>&1 || true
  trap '"$wineserver" -k || true' EXIT
}

limit() {
  if has timeout; then
    timeout -k 2 "$@"
  elif has gtimeout; then
    gtimeout -k 2 "$@"
  else
    perl -e 'alarm shift; exec @ARGV or die "$ARGV[0]: $!\n"' "$@"
  fi
}

# By test case: the sums in ctest's file call a test whose program is missing "skipped".
counts() {
  awk '
    /^[ \t]*<testcase / { ++all; if (/status="run"/) ++passed; if (/status="disabled"/) ++skipped }
    /^[ \t]*<skipped message="SKIP_/ { ++skipped }
    END { print passed + 0, all - passed - skipped, skipped + 0 }' "build/ctest-$1.xml"
}
