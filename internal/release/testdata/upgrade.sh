# Runs in a root of Debian without systemd and without a network: installs the package,
# upgrades it under a running module, removes and purges it. systemctl is a stand-in.
say() { echo "== $*"; }
fail() {
	echo "FAIL: $*" >&2
	tail -n 30 /var/log/pipelined >&2
	exit 1
}
# until_true COMMAND...: waits until a command succeeds.
until_true() {
	n=0
	until "$@"; do
		n=$((n + 1))
		[ "$n" -lt 600 ] || fail "never true: $*"
		sleep 0.1
	done
}
alive() { [ -d "/proc/$1" ] && ! grep -q '^State:.*Z' "/proc/$1/status"; }
gone() { ! alive "$1"; }

mkdir -p /run/systemd/system /etc/systemd/system /work
cd /work

say install
dpkg -i /packages/old.deb
id pipelined
[ ! -e /run/pipelined.pid ] || fail "the installation started the agent"
[ "$(stat -c '%U:%G %a' /etc/pipelined)" = "root:pipelined 750" ] || fail "/etc/pipelined: $(stat -c '%U:%G %a' /etc/pipelined)"
bash -n /usr/share/bash-completion/completions/pipelined

say start
echo 'max_parallel = 2' >>/etc/pipelined/agent.hcl
systemctl enable --now pipelined
[ "$(stat -c '%U %a' /etc/pipelined/cluster.key)" = "root 600" ] || fail "the key: $(stat -c '%U %a' /etc/pipelined/cluster.key)"
key=$(sha256sum </etc/pipelined/cluster.key)
pipelined members | tee members
grep -q "$OLD" members || fail "the agent is not of version $OLD"

say "upgrade under a running module"
cat >job.hcl <<'HCL'
pipeline "job" {
  module "wait" {
    script = <<-SH
      echo $$ >/var/tmp/pid
      until [ -e /var/tmp/go ]; do sleep 0.1; done
      echo done
    SH
  }
}
HCL
pipelined submit -detach job.hcl
until_true test -s /var/tmp/pid
module=$(cat /var/tmp/pid)
agent=$(cat /run/pipelined.pid)
dpkg --force-confold -i /packages/new.deb
pipelined members | tee members
grep -q "$NEW" members || fail "the agent is not of version $NEW"
[ "$(cat /run/pipelined.pid)" != "$agent" ] || fail "the agent was not started again"
alive "$module" || fail "the upgrade ended the module"
[ "$key" = "$(sha256sum </etc/pipelined/cluster.key)" ] || fail "the upgrade changed the key"
grep -q max_parallel /etc/pipelined/agent.hcl || fail "the upgrade replaced the configuration"
touch /var/tmp/go
pipelined wait -timeout 60s last
pipelined status last | tee status
pipelined logs last | grep -q done || fail "no output of the module"
[ "$(pipelined status -json last | grep -o '"assignedAt"' | wc -l)" = 1 ] || fail "the module was repeated"

say "remove under a running module"
rm /var/tmp/go /var/tmp/pid
pipelined submit -detach job.hcl
until_true test -s /var/tmp/pid
module=$(cat /var/tmp/pid)
keeper=$(cat /var/lib/pipelined/agents/service/keeper/keeper.lock)
dpkg -r pipelined
[ ! -e /run/pipelined.pid ] || fail "the agent still runs"
[ ! -e /usr/bin/pipelined ] || fail "the program is still there"
alive "$module" || fail "the removal ended the module"
alive "$keeper" || fail "the removal ended the keeper before its module"
dpkg -P pipelined
[ -d /var/lib/pipelined ] || fail "the purge deleted the files of a running module"
touch /var/tmp/go
until_true gone "$keeper"

say "install again, and purge"
dpkg -i /packages/new.deb
dpkg -P pipelined
[ ! -e /var/lib/pipelined ] || fail "the purge left /var/lib/pipelined"
[ ! -e /etc/pipelined ] || fail "the purge left /etc/pipelined: $(ls -l /etc/pipelined)"
say good
