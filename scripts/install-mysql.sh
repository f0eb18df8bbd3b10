#!/bin/bash
# Unpacks a real MySQL server into .cache/mysql, and its client and dump programs into
# .cache/mysql-client, for the tests that run on MySQL.
#
# Debian's stable releases carry MariaDB only; MySQL is in unstable. Nothing of
# unstable may reach this machine's own system, so apt works here on a state of its
# own: its own package lists, its own idea of what is installed (nothing), its own
# cache. It downloads the packages with every library they need down to libc, dpkg-deb
# unpacks them into a folder, and the programs in bin run through the unpacked dynamic
# loader with the unpacked libraries. No root is needed.
#
# Idempotent: what is there is left alone. Remove both folders for the newest ones.
set -euo pipefail
cd "$(dirname "$0")/.."

server=$PWD/.cache/mysql
client=$PWD/.cache/mysql-client

complete() { [[ -e $server/version && -e $client/version ]]; }
if complete; then
  exit 0
fi

fail() {
  echo "install-mysql: $*" >&2
  exit 1
}

for tool in apt-get dpkg-deb; do
  command -v $tool >/dev/null ||
    fail "no $tool here: unpack MySQL yourself and point PERSISTD_MYSQL_HOME at the folder whose bin/mysqld it is"
done

# The Debian mirror this machine is configured for, however its sources are written.
# Before the first `apt-get update` apt knows no labels: then the address must tell,
# by the company of an -updates suite or else by its usual end.
mirror=$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' 'Label: Debian' | sed -n 1p)
if [[ -z $mirror ]]; then
  configured=$(apt-get --print-uris update | cut -d "'" -f 2)
  mirror=$(sed -n 's|dists/[a-z]*-updates/.*||p' <<<"$configured" | sed -n 1p)
  [[ -n $mirror ]] || mirror=$(sed -n 's|\(/debian/*\)dists/.*|\1|p' <<<"$configured" | grep -v linux/ | sed -n 1p) || true
fi
[[ -n $mirror ]] || fail "apt has no Debian mirror configured here: set PERSISTD_MYSQL_HOME instead"

keyring=
for file in /usr/share/keyrings/debian-archive-keyring.{pgp,gpg}; do
  [[ -r $file ]] && keyring=$file
done
[[ -n $keyring ]] || fail "no Debian archive keyring in /usr/share/keyrings: install debian-archive-keyring"

# Everything is built aside and renamed when complete. One run at a time.
mkdir -p .cache
exec 9>.cache/mysql.lock
flock 9
if complete; then # another run has just made it
  exit 0
fi
work=$PWD/.cache/mysql.new
rm -rf "$work"
trap 'rm -rf "$work"' EXIT
mkdir -p "$work"/apt/{lists,cache,etc}/partial

echo "install-mysql: unpacking MySQL from Debian unstable into .cache/mysql and .cache/mysql-client (75 MB to download)"

arch=$(dpkg --print-architecture)
echo "deb [arch=$arch signed-by=$keyring] $mirror unstable main" >"$work/apt/etc/sources.list"
# Perl is for the package's maintenance scripts only: call it installed.
cat >"$work/apt/status" <<END
Package: perl
Status: install ok installed
Architecture: $arch
Multi-Arch: allowed
Version: 99
Maintainer: nobody
Description: not needed to run the server
END
# Read after the machine's own settings, of which the proxy's are wanted and the
# hooks are not.
cat >"$work/apt/apt.conf" <<END
#clear APT::Update::Pre-Invoke;
#clear APT::Update::Post-Invoke;
#clear APT::Update::Post-Invoke-Success;
#clear DPkg::Pre-Install-Pkgs;
#clear Acquire::IndexTargets;
#clear APT::Default-Release;
Acquire::IndexTargets::deb::Packages::MetaKey "\$(COMPONENT)/binary-\$(ARCHITECTURE)/Packages";
Acquire::IndexTargets::deb::Packages::flatMetaKey "Packages";
Acquire::IndexTargets::deb::Packages::ShortDescription "Packages";
Acquire::IndexTargets::deb::Packages::Description "\$(RELEASE)/\$(COMPONENT) \$(ARCHITECTURE) Packages";
Acquire::IndexTargets::deb::Packages::Optional "false";
Acquire::Languages "none";
Acquire::Retries "3";
Dir::State "$work/apt";
Dir::State::lists "$work/apt/lists";
Dir::State::status "$work/apt/status";
Dir::Cache "$work/apt/cache";
Dir::Cache::archives "$work/apt/cache";
Dir::Cache::pkgcache "";
Dir::Cache::srcpkgcache "";
Dir::Etc::sourcelist "$work/apt/etc/sources.list";
Dir::Etc::sourceparts "/dev/null";
Dir::Etc::preferences "/dev/null";
Dir::Etc::preferencesparts "/dev/null";
Debug::NoLocking "true";
APT::Sandbox::User "";
APT::Keep-Downloaded-Packages "true";
END

apt() {
  apt-get -c "$work/apt/apt.conf" -qq "$@" >"$work/log" 2>&1 </dev/null ||
    fail "apt-get $*: $(tail -n 20 "$work/log")"
}
apt update

# unpack PACKAGE HOME unpacks a package and all it needs into HOME/root.
unpack() {
  rm -rf "$work/home" "$work"/apt/cache/*.deb
  mkdir -p "$work/home/root" "$work/home/bin"
  apt --yes --no-install-recommends --download-only install "$1"
  for deb in "$work"/apt/cache/*.deb; do
    dpkg-deb -x "$deb" "$work/home/root"
  done
  dpkg-deb -f "$work"/apt/cache/"$1"_*.deb Version >"$work/version"
  rm -rf "$work"/home/root/usr/share/{doc,man,locale,icons}
}

# program NAME PATH ARGUMENTS makes bin/NAME, which runs PATH with what it is given and
# the ARGUMENTS behind, in which $root is HOME/root.
program() {
  loader=$(cd "$work/home/root" && find usr/lib usr/lib64 -name 'ld-linux*.so*' | head -n 1)
  [[ -n $loader ]] || fail "no dynamic loader among the packages"
  [[ -x $work/home/root/$2 ]] || fail "no $2 among the packages"
  libraries=$(cd "$work/home/root" && dirname "$(find usr/lib -name 'libc.so.6' | head -n 1)")
  cat >"$work/home/bin/$1" <<END
#!/bin/sh
# Written by scripts/install-mysql.sh: MySQL $(cat "$work/version") on its own loader and libraries.
# --no-defaults must stay the first argument, so ours follow.
root=\$(dirname "\$(dirname "\$(readlink -f "\$0")")")/root
unset LD_LIBRARY_PATH LD_PRELOAD
exec "\$root/$loader" --library-path "\$root/$libraries" --argv0 "\$root/$2" "\$root/$2" "\$@" $3
END
  chmod +x "$work/home/bin/$1"
  answer=$("$work/home/bin/$1" --no-defaults --version 2>&1) || fail "the unpacked $1 does not run: $answer"
}

# finish HOME puts what was unpacked where it belongs.
finish() {
  cp "$work/version" "$work/home/version"
  rm -rf "$1"
  mv "$work/home" "$1"
  echo "install-mysql: ${answer#*  }"
}

if [[ ! -e $server/version ]]; then
  unpack mysql-server-core
  program mysqld usr/sbin/mysqld '--basedir="$root/usr" --lc-messages-dir="$root/usr/share/mysql" \
  --character-sets-dir="$root/usr/share/mysql/charsets" --plugin-dir="$root/usr/lib/mysql/plugin"'
  finish "$server"
fi
if [[ ! -e $client/version ]]; then
  unpack mysql-client
  program mysql usr/bin/mysql '--character-sets-dir="$root/usr/share/mysql/charsets"'
  program mysqldump usr/bin/mysqldump '--character-sets-dir="$root/usr/share/mysql/charsets"'
  finish "$client"
fi
