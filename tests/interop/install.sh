# Installs the clients of the tests outside the repository: below AMOIQ_INTEROP_CACHE, else
# XDG_CACHE_HOME, else /tmp. Sourced by tests/interop/run and tests/proxies/run, in this directory; needs `die`.

# What is in the cache is executed, so it has to belong to the user.
cache=${AMOIQ_INTEROP_CACHE:-${XDG_CACHE_HOME:-/tmp}/amoiq-interop-$(id -u)}
mkdir -p -m 700 "$cache"
[ -O "$cache" ] || die "$cache belongs to somebody else"

# The name of a state: of files, and of what they are installed for.
state() { { cat "$1"; shift; printf '%s\n' "$@"; } | sha256sum | cut -c 1-16; }

# Installs into a directory that takes its name when it is complete; of two at once the first one wins.
install_once() {
  local name=$1 place=$cache/$1
  shift
  if [ ! -d "$place" ]; then
    local fresh
    fresh=$(mktemp -d "$cache/$name.XXXXXX")
    "$@" "$fresh" >&2 || { rm -rf "$fresh"; die "could not install $name"; }
    mv -T "$fresh" "$place" 2>/dev/null || rm -rf "$fresh"
  fi
  printf '%s\n' "$place"
}

install_node() {
  cp package.json package-lock.json "$1/"
  (cd "$1" && npm ci --ignore-scripts --no-audit --no-fund --loglevel=error)
}

# Prints where Node finds the clients.
node_modules() { printf '%s/package.json\n' "$(install_once "node-$(state package-lock.json)" install_node)"; }
