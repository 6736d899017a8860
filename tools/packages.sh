# Sourced by x: which distribution packages a verb needs, which of them are missing, and how to get them.
# Names are those of Debian 12 and Ubuntu 24.04. On another system each is looked for by its command, pkg-config
# module, header or Python module instead, and what is missing is listed under its Debian name.
# shellcheck shell=bash disable=SC2034,SC2154  # lists are used, and `log` is set, by x

build_packages=(g++ meson ninja-build pkg-config libeigen3-dev libhdf5-dev libboost-test-dev libtomlplusplus-dev
  libcli11-dev libfmt-dev zlib1g-dev nlohmann-json3-dev)
test_packages=(python3 python3-numpy python3-h5py python3-xarray python3-h5netcdf python3-pandas python3-matplotlib)
portable_packages=(libaec-dev) # libhdf5-dev brings the other archives
format_packages=(clang-format-14) # other versions format differently
lint_packages=(clang-format-14 clang-tidy-14 libomp-14-dev)
# libgomp reports races in correct loops; libomp has archer to explain them. llvm gives the reports their line numbers.
thread_sanitizer_packages=(clang libclang-rt-dev libomp-dev llvm)

# Is what `package` brings here, whoever installed it?
probe() {
  case $1 in
    g++) command -v "${CXX:-c++}" ;;
    ninja-build) command -v ninja ;;
    meson | pkg-config | python3 | clang | clang-format-14 | clang-tidy-14) command -v "$1" ;;
    libeigen3-dev) pkg-config eigen3 ;;
    libhdf5-dev) pkg-config hdf5 ;;
    libtomlplusplus-dev) pkg-config tomlplusplus ;;
    libcli11-dev) pkg-config CLI11 ;;
    libfmt-dev) pkg-config fmt ;;
    zlib1g-dev) pkg-config zlib ;;
    nlohmann-json3-dev) pkg-config nlohmann_json ;;
    libboost-test-dev) echo '#include <boost/test/unit_test.hpp>' | "${CXX:-c++}" -E -x c++ - ;;
    python3-*) python3 -c "import ${1#python3-}" ;;
    *) false ;; # only the package itself would tell
  esac >/dev/null 2>&1
}

# missing_packages NAME... prints those that are not here, one per line.
missing_packages() {
  local package installed=''
  if command -v dpkg-query >/dev/null; then
    installed=$(dpkg-query -W -f '${Package} ${db:Status-Status}\n' "$@" 2>/dev/null | sed -n 's/ installed$//p')
  fi
  for package in "$@"; do
    case $'\n'$installed$'\n' in
      *$'\n'"$package"$'\n'*) ;;
      *) probe "$package" || echo "$package" ;;
    esac
  done
}

# Tells what to install and why this script does not do it.
refuse_packages() {
  local reason=$1
  shift
  {
    echo "x: these packages are missing, and $reason:"
    printf '  %s\n' "$@"
    if command -v apt-get >/dev/null; then
      echo "Install them as root, then run the same command again:"
      echo "  apt-get update && apt-get install --no-install-recommends $*"
    else
      echo "These are Debian's names; install what your distribution calls them, then run the same command again."
    fi
  } >&2
  exit 1
}

# become_root sets `as_root` to what goes before a command that root must run, or returns 1.
become_root() {
  as_root=(env)
  [ "$(id -u)" = 0 ] && return 0
  command -v sudo >/dev/null || return 1
  as_root=(sudo env)
  sudo -n true 2>/dev/null && return 0
  # A person at a terminal may type a password; nobody else can.
  [ -t 0 ] && [ -t 2 ] && say 'packages are missing; sudo asks for your password to install them' && sudo -v
}

apt_get() {
  "${as_root[@]}" DEBIAN_FRONTEND=noninteractive apt-get -q -y -o DPkg::Lock::Timeout=300 "$@" >>"$log" 2>&1 </dev/null
}

# A fresh system has no package lists and an old one stale ones: only then are they fetched.
install_packages() {
  open_log install
  apt_get install --no-install-recommends "$@" && return
  say 'fetching the package lists'
  apt_get update && apt_get install --no-install-recommends "$@"
}

# need NAME... installs what is missing of packages without which the verb cannot go on.
need() {
  local missing
  read -r -d "" -a missing <<<"$(missing_packages "$@")"
  [ ${#missing[@]} -eq 0 ] && return
  command -v apt-get >/dev/null || refuse_packages 'this system has no apt-get' "${missing[@]}"
  become_root || refuse_packages 'installing them needs root' "${missing[@]}"
  say "installing ${missing[*]}"
  install_packages "${missing[@]}" && return
  show_log 40
  refuse_packages 'apt-get failed (its messages are above)' "${missing[@]}"
}

# want NAME... is for packages a verb can go on without: tried once, without questions.
want() {
  local missing tried=$logs/not-available
  read -r -d "" -a missing <<<"$(missing_packages "$@")"
  [ ${#missing[@]} -eq 0 ] && return
  grep -qsxF "${missing[*]}" "$tried" && return
  command -v apt-get >/dev/null && become_root </dev/null 2>/dev/null || return 0
  say "installing ${missing[*]}"
  install_packages "${missing[@]}" && return
  say "${missing[*]} not available; what needs it is skipped"
  echo "${missing[*]}" >>"$tried"
}
