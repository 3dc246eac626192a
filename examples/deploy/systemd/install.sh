#!/bin/sh
# Installs an agent as a service by hand, for distributions without the deb or the rpm: from
# the directory of an unpacked release, as root. It replaces the program and the unit, and no
# configuration. DESTDIR prepares another root instead, such as that of an image.
set -eu

root=${DESTDIR-}
cd "$(dirname "$0")/.."

if [ -z "$root" ] && ! getent passwd pipelined >/dev/null; then
	useradd --system --user-group --no-create-home --home-dir /var/lib/pipelined --shell /usr/sbin/nologin pipelined
fi

install -D -m 755 pipelined "$root/usr/bin/pipelined"
install -D -m 644 systemd/pipelined.service "$root/etc/systemd/system/pipelined.service"
install -d -m 755 "$root/etc/pipelined"
if [ ! -e "$root/etc/pipelined/agent.hcl" ]; then
	install -m 644 systemd/agent.hcl "$root/etc/pipelined/agent.hcl"
fi

if [ -z "$root" ]; then
	systemctl daemon-reload
fi
echo "edit $root/etc/pipelined/agent.hcl, then run: systemctl enable --now pipelined"
