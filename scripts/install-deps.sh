#!/bin/bash
# Installs what building and testing need and the machine lacks: MariaDB's server
# program (not the service: nothing is started), its client and dump programs, the
# library that makes several of them a Galera cluster, and the C compiler that Go's
# race detector links with. Idempotent, and silent when nothing is missing.
set -euo pipefail

packages=()
PATH=$PATH:/usr/local/sbin:/usr/sbin:/usr/libexec # where devstack looks, too
[[ -n ${PERSISTD_MARIADBD:-} ]] || command -v mariadbd >/dev/null || packages+=(mariadb-server-core)
galera=$(compgen -G '/usr/lib*/galera*/libgalera_smm.so' || true)
[[ -n ${PERSISTD_GALERA:-} || -n $galera ]] || packages+=(galera-4)
command -v mariadb-dump >/dev/null && command -v mariadb >/dev/null || packages+=(mariadb-client)
command -v "$(go env CC)" >/dev/null || packages+=(gcc libc6-dev)
((${#packages[@]})) || exit 0

if ! command -v apt-get >/dev/null; then
  echo "deps: no apt-get here: install what Debian calls ${packages[*]} yourself" >&2
  exit 1
fi
sudo=()
if ((EUID != 0)); then
  if ! command -v sudo >/dev/null; then
    echo "deps: neither root nor sudo: have root run: apt-get install --no-install-recommends ${packages[*]}" >&2
    exit 1
  fi
  sudo=(sudo)
fi

echo "deps: installing the Debian packages ${packages[*]} (they start nothing)"
log=$(mktemp)
trap 'rm -f "$log"' EXIT
apt() {
  "${sudo[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -qq -o DPkg::Lock::Timeout=120 "$@" >"$log" 2>&1 </dev/null
}
if ! apt update || ! apt install --yes --no-install-recommends "${packages[@]}"; then
  cat "$log" >&2
  exit 1
fi
