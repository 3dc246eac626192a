package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
)

// need skips a test if a command is not here.
func need(tb testing.TB, commands ...string) {
	tb.Helper()

	for _, c := range commands {
		if _, err := exec.LookPath(c); err != nil {
			tb.Skipf("%s is not here", c)
		}
	}
}

// command runs a command and gives all that it prints; an error ends the test.
func command(tb testing.TB, args ...string) string {
	tb.Helper()

	out, err := exec.CommandContext(tb.Context(), args[0], args[1:]...).CombinedOutput()
	if err != nil {
		tb.Fatalf("%s: %v\n%s", strings.Join(args, " "), err, out)
	}

	return string(out)
}

// debFile is the package for this machine.
func debFile(tb testing.TB) string {
	tb.Helper()

	return filepath.Join(release(tb), "pipelined_"+packageVersion(version)+"-1_"+runtime.GOARCH+".deb")
}

// TestDeb_lintian: Debian's own checks find no error in the package.
func TestDeb_lintian(t *testing.T) {
	need(t, "lintian")
	t.Log(command(t, "lintian", "--fail-on", "error", "--allow-root", debFile(t)))
}

// TestRPM: rpm reads the package, which names and requires what it should.
func TestRPM(t *testing.T) {
	need(t, "rpm")

	for goarch, arch := range map[string]string{"amd64": "x86_64", "arm64": "aarch64"} {
		file := filepath.Join(release(t), "pipelined-"+packageVersion(version)+"-1."+arch+".rpm")
		if _, err := os.Stat(file); err != nil {
			t.Errorf("%s: %v", goarch, err)
			continue
		}

		info := command(t, "rpm", "-qip", file)
		for _, want := range []string{"Version     : 1.2.3~rc.1\n", "Architecture: " + arch, "License     : Apache-2.0", "Build Host  : localhost\n"} {
			if !strings.Contains(info, want) {
				t.Errorf("rpm -qip has no %q:\n%s", want, info)
			}
		}
		if strings.Contains(info, "\n.\n") {
			t.Errorf("the description has a line of Debian's form:\n%s", info)
		}

		if got := command(t, "rpm", "-qp", "--configfiles", file); got != "/etc/pipelined/agent.hcl\n" {
			t.Errorf("configuration files: %q", got)
		}
		// Names of packages differ between distributions.
		for got := range strings.Lines(command(t, "rpm", "-qp", "--requires", file)) {
			if !strings.HasPrefix(got, "/") && !strings.HasPrefix(got, "config(pipelined)") && !strings.HasPrefix(got, "rpmlib(") {
				t.Errorf("requires %s", got)
			}
		}
	}
}

// TestUnit: systemd itself accepts the unit, of which the program is in another place here.
func TestUnit(t *testing.T) {
	need(t, "systemd-analyze", "dpkg-deb")

	dir := t.TempDir()
	command(t, "dpkg-deb", "-x", debFile(t), dir)

	text, err := os.ReadFile(filepath.Join(dir, "lib/systemd/system/pipelined.service"))
	if err != nil {
		t.Fatal(err)
	}

	for _, want := range []string{"Type=notify\n", "KillMode=process\n", "User=pipelined\n"} {
		if !strings.Contains(string(text), want) {
			t.Errorf("the unit has no %s", want)
		}
	}

	unit := filepath.Join(dir, "pipelined.service")
	if err := os.WriteFile(unit, []byte(strings.ReplaceAll(string(text), "/usr/bin/pipelined", dir+"/usr/bin/pipelined")), 0o600); err != nil {
		t.Fatal(err)
	}

	if out := command(t, "systemd-analyze", "--man=no", "verify", unit); strings.Contains(out, "pipelined") {
		t.Error(out)
	}
}

// TestConfiguration: the agent accepts the configuration of the package, and also if every
// setting in its comments is made.
func TestConfiguration(t *testing.T) {
	dir := t.TempDir()
	files := unpack(t, filepath.Join(release(t), "pipelined_"+version+"_linux_"+runtime.GOARCH+".tar.gz"), dir)
	program := files["pipelined_"+version+"_linux_"+runtime.GOARCH+"/pipelined"]

	text, err := os.ReadFile("files/agent.hcl")
	if err != nil {
		t.Fatal(err)
	}

	var all strings.Builder
	for line := range strings.Lines(string(text)) {
		if setting, ok := strings.CutPrefix(line, "# "); ok && strings.Contains(setting, " = ") {
			line = setting
		}

		all.WriteString(line)
	}

	if all.String() == string(text) {
		t.Fatal("no setting is in a comment")
	}

	for name, text := range map[string]string{"as it is": string(text), "with all": strings.Replace(all.String(), `"private"`, `"127.0.0.1"`, 1)} {
		file := filepath.Join(dir, "agent.hcl")
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}

		if out := command(t, program, "agent", "-config", file, "-print-config"); !strings.Contains(out, "/var/lib/pipelined/agents/service") {
			t.Errorf("%s: %s", name, out)
		}
	}
}

// TestDeb_upgrade installs the package in a root of Debian, upgrades it under a running
// module, and removes it: with the package's own scripts, dpkg and a real agent. Only
// systemctl is a stand-in, since systemd is not the first process there.
func TestDeb_upgrade(t *testing.T) {
	need(t, "mmdebstrap", "unshare", "ip", "chroot")
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}

	const before = "1.2.2"
	old := filepath.Join(results, "old")
	b := testBuild(t, before, old)
	made, err := b.tree(t.Context(), platform{"linux", runtime.GOARCH})
	if err != nil {
		t.Fatal(err)
	}

	if err := os.MkdirAll(old, 0o755); err != nil {
		t.Fatal(err)
	}

	if err := b.pack("deb", made); err != nil {
		t.Fatal(err)
	}

	root := filepath.Join(t.TempDir(), "root")
	command(t, "mkdir", root)
	command(t, "tar", "-C", root, "-xf", debianArchive(t))
	command(t, "mkdir", root+"/packages")
	command(t, "cp", filepath.Join(old, "pipelined_"+before+"-1_"+runtime.GOARCH+".deb"), root+"/packages/old.deb")
	command(t, "cp", debFile(t), root+"/packages/new.deb")
	command(t, "cp", "testdata/upgrade.sh", root+"/upgrade.sh")
	command(t, "env", "CGO_ENABLED=0", "go", "build", "-o", root+"/usr/bin/systemctl", "./standin")

	// Processes, mounts and the network of the root are its own: none of them outlives the
	// test, and nothing reaches the machine.
	script := `ip link set lo up
mkdir -p "$0/dev"
mount --rbind /dev "$0/dev"
mount -t proc proc "$0/proc"
exec chroot "$0" /usr/bin/env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root NO_COLOR=1 OLD=$1 NEW=$2 timeout 300 sh -eu /upgrade.sh`
	out := command(t, "unshare", "--net", "--mount", "--pid", "--ipc", "--uts", "--fork", "--kill-child", "sh", "-eu", "-c", script, root, before, version)
	t.Log(out)
}

// debianArchive makes a small Debian: into the archive that PIPELINED_TEST_ROOT names, unless
// it is there.
func debianArchive(tb testing.TB) string {
	tb.Helper()
	need(tb, "mmdebstrap")

	archive := os.Getenv("PIPELINED_TEST_ROOT")
	if archive == "" {
		archive = filepath.Join(results, "root.tar")
	}

	if _, err := os.Stat(archive); err == nil {
		return archive
	}

	made, err := testBuild(tb, version, "").debian(tb.Context(), runtime.GOARCH)
	if err != nil {
		tb.Fatal(err)
	}

	command(tb, "mv", made, archive)

	return archive
}

// testBuild is a build of this tree into a directory.
func testBuild(tb testing.TB, version, out string) *build {
	tb.Helper()

	b, err := newBuild(tb.Context(), config{root: "../..", out: out, version: version, tags: *tags, ldflags: *ldflags})
	if err != nil {
		tb.Fatal(err)
	}

	tb.Cleanup(func() { _ = os.RemoveAll(b.work) }) // temporary

	return b
}
