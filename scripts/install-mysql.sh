#!/bin/bash
# Unpacks a real MySQL server into .cache/mysql, for the tests that run on MySQL.
#
# Debian's stable releases carry MariaDB only; MySQL is in unstable. Nothing of
# unstable may reach this machine's own system, so apt works here on a state of its
# own: its own package lists, its own idea of what is installed (nothing), its own
# cache. It downloads mysql-server-core with every library it needs down to libc,
# dpkg-deb unpacks them into a folder, and bin/mysqld runs the server through the
# unpacked dynamic loader with the unpacked libraries. No root is needed.
#
# Idempotent: an installation that is there is left alone. Remove .cache/mysql for
# the newest one.
set -euo pipefail
cd "$(dirname "$0")/.."

package=mysql-server-core
home=$PWD/.cache/mysql

if [[ -e $home/version ]]; then
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
if [[ -e $home/version ]]; then # another run has just made it
  exit 0
fi
work=$PWD/.cache/mysql.new
rm -rf "$home" "$work"
trap 'rm -rf "$work"' EXIT
mkdir -p "$work"/apt/{lists,cache,etc}/partial "$work/root"

echo "install-mysql: unpacking MySQL from Debian unstable into .cache/mysql (70 MB to download)"

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
apt --yes --no-install-recommends --download-only install "$package"

for deb in "$work"/apt/cache/*.deb; do
  dpkg-deb -x "$deb" "$work/root"
done
version=$(dpkg-deb -f "$work"/apt/cache/"$package"_*.deb Version)
rm -rf "$work/apt" "$work/log" "$work"/root/usr/share/{doc,man,locale,icons}

loader=$(cd "$work/root" && find usr/lib usr/lib64 -name 'ld-linux*.so*' | head -n 1)
[[ -n $loader ]] || fail "no dynamic loader among the packages"
libraries=$(cd "$work/root" && dirname "$(find usr/lib -name 'libc.so.6' | head -n 1)")
mkdir "$work/bin"
cat >"$work/bin/mysqld" <<END
#!/bin/sh
# Written by scripts/install-mysql.sh: MySQL $version on its own loader and libraries.
# --no-defaults must stay the first argument, so ours follow.
root=\$(dirname "\$(dirname "\$(readlink -f "\$0")")")/root
unset LD_LIBRARY_PATH LD_PRELOAD
exec "\$root/$loader" --library-path "\$root/$libraries" --argv0 "\$root/usr/sbin/mysqld" "\$root/usr/sbin/mysqld" "\$@" \\
  --basedir="\$root/usr" --lc-messages-dir="\$root/usr/share/mysql" \\
  --character-sets-dir="\$root/usr/share/mysql/charsets" --plugin-dir="\$root/usr/lib/mysql/plugin"
END
chmod +x "$work/bin/mysqld"

answer=$("$work/bin/mysqld" --no-defaults --version 2>&1) || fail "the unpacked mysqld does not run: $answer"
echo "$version" >"$work/version"
mv "$work" "$home"
echo "install-mysql: ${answer#*  }"
