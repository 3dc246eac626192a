package main

import (
	"archive/tar"
	"compress/gzip"
	"debug/elf"
	"encoding/json"
	"flag"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
)

// What the Makefile builds with, so that the tests build the same.
var (
	tags    = flag.String("tags-of-binary", "grpcnotrace,urfave_cli_no_template", "build tags of the binary")
	ldflags = flag.String("ldflags-of-binary", "-s -w", "flags of the linker")
)

// version is that of the release that tests build.
const version = "1.2.3-rc.1"

// results holds the release that tests share.
var results string

func TestMain(m *testing.M) {
	flag.Parse()

	var err error
	if results, err = os.MkdirTemp("", "pipelined-release-test-"); err != nil {
		panic(err)
	}

	code := m.Run()
	_ = os.RemoveAll(results) // temporary
	os.Exit(code)
}

// buildRelease builds a release of the tree at root into out.
func buildRelease(tb testing.TB, root, out string) {
	tb.Helper()

	if err := run(tb.Context(), []string{"-root", root, "-out", out, "-version", version, "-tags", *tags, "-ldflags", *ldflags}); err != nil {
		tb.Fatal(err)
	}
}

// release builds the release of this tree once, and gives its directory.
var release = sync.OnceValue(func() func(testing.TB) string {
	var once sync.Once

	return func(tb testing.TB) string {
		tb.Helper()
		once.Do(func() { buildRelease(tb, "../..", filepath.Join(results, "first")) })

		return filepath.Join(results, "first")
	}
})()

// TestRelease_reproducible builds the release again, from a clone in another directory and
// by a user with flags of their own, and compares every byte.
func TestRelease_reproducible(t *testing.T) {
	if changes, err := exec.Command("git", "status", "--porcelain").Output(); err != nil || len(changes) > 0 {
		t.Skipf("a clone does not have the changes that are in no commit: %v\n%s", err, changes)
	}

	first := release(t)
	clone := filepath.Join(t.TempDir(), "elsewhere")
	if out, err := exec.Command("git", "clone", "-q", "--no-hardlinks", "../..", clone).CombinedOutput(); err != nil {
		t.Fatalf("git clone: %v: %s", err, out)
	}

	// As "go env -w" writes them.
	flags := filepath.Join(t.TempDir(), "env")
	if err := os.WriteFile(flags, []byte("GOFLAGS=-gcflags=-N\n"), 0o600); err != nil {
		t.Fatal(err)
	}

	t.Setenv("GOENV", flags)
	t.Setenv("GOFLAGS", "")
	second := filepath.Join(t.TempDir(), "second")
	buildRelease(t, clone, second)

	sums := func(dir string) string {
		text, err := os.ReadFile(filepath.Join(dir, sumsName))
		if err != nil {
			t.Fatal(err)
		}

		return string(text)
	}

	if a, b := sums(first), sums(second); a != b {
		t.Errorf("two builds differ:\n%s\n%s", a, b)
	}

	if out, err := exec.Command("sh", "-c", "cd "+first+" && sha256sum -c --quiet "+sumsName).CombinedOutput(); err != nil {
		t.Errorf("sha256sum: %v: %s", err, out)
	}
}

// TestRelease_names: the files of a release, by name. Instructions and scripts rely on them.
func TestRelease_names(t *testing.T) {
	want := []string{
		"SHA256SUMS",
		"pipelined-1.2.3~rc.1-1.aarch64.rpm", "pipelined-1.2.3~rc.1-1.x86_64.rpm",
		"pipelined_1.2.3-rc.1_darwin_arm64.cdx.json", "pipelined_1.2.3-rc.1_darwin_arm64.tar.gz",
		"pipelined_1.2.3-rc.1_linux_amd64.cdx.json", "pipelined_1.2.3-rc.1_linux_amd64.tar.gz",
		"pipelined_1.2.3-rc.1_linux_arm64.cdx.json", "pipelined_1.2.3-rc.1_linux_arm64.tar.gz",
		"pipelined_1.2.3~rc.1-1_amd64.deb", "pipelined_1.2.3~rc.1-1_arm64.deb",
	}

	files, err := os.ReadDir(release(t))
	if err != nil {
		t.Fatal(err)
	}

	var got []string
	for _, f := range files {
		got = append(got, f.Name())
	}

	if !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

// TestArchive: an archive has what it should, as root's and of the commit's time, and its
// program says which release it is.
func TestArchive(t *testing.T) {
	dir := "pipelined_" + version + "_linux_" + runtime.GOARCH
	files := unpack(t, filepath.Join(release(t), dir+".tar.gz"), t.TempDir())

	for _, name := range []string{"pipelined", "LICENSE", "THIRD-PARTY-LICENSES", "README.md", "CHANGELOG.md",
		"completions/pipelined.bash", "completions/_pipelined", "completions/pipelined.fish", "man/man1/pipelined.1",
		"systemd/install.sh", "systemd/pipelined.service", "systemd/agent.hcl"} {
		if files[dir+"/"+name] == "" {
			t.Errorf("%s is missing or empty", name)
		}
	}

	out, err := exec.Command(files[dir+"/pipelined"], "version", "-json").Output()
	if err != nil {
		t.Fatal(err)
	}

	var got struct{ Version, Commit, Time string }
	if err := json.Unmarshal(out, &got); err != nil {
		t.Fatal(err)
	}

	head, err := exec.Command("git", "rev-parse", "HEAD").Output()
	if err != nil {
		t.Fatal(err)
	}

	if got.Version != version || got.Commit != strings.TrimSpace(string(head)) || got.Time == "" {
		t.Errorf("version -json: %s", out)
	}
}

// TestArchive_arm64: the program for the other processor is what it says, needs no loader,
// and works under an emulator, if there is one. A run does not: qemu 7 cannot begin a process
// for which the kernel is asked for a descriptor (clone with CLONE_PIDFD); qemu 10 can.
func TestArchive_arm64(t *testing.T) {
	dir := "pipelined_" + version + "_linux_arm64"
	at := t.TempDir()
	program := unpack(t, filepath.Join(release(t), dir+".tar.gz"), at)[dir+"/pipelined"]

	f, err := elf.Open(program)
	if err != nil {
		t.Fatal(err)
	}

	defer f.Close()

	if f.Machine != elf.EM_AARCH64 || f.Class != elf.ELFCLASS64 || f.Section(".interp") != nil {
		t.Errorf("the program is for %s, %s, with a loader: %v", f.Machine, f.Class, f.Section(".interp") != nil)
	}

	file := filepath.Join(at, "pipeline.hcl")
	if err := os.WriteFile(file, []byte(`pipeline "p" {
  module "m" { script = "true" }
}
`), 0o644); err != nil {
		t.Fatal(err)
	}

	args := []string{"sh", "-ec", `"$0" version && "$0" plan "$1"`, program, file}
	cmd := exec.CommandContext(t.Context(), args[0], args[1:]...)
	if runtime.GOARCH != "arm64" {
		cmd = foreign(t, args)
	}

	cmd.Env = append(os.Environ(), "XDG_STATE_HOME="+at, "XDG_CONFIG_HOME="+at)
	out, err := cmd.CombinedOutput()
	if err != nil || !strings.Contains(string(out), "linux/arm64") {
		t.Errorf("%v\n%s", err, out)
	}
}

// foreign makes a command that can run programs for arm64, and skips the test where none can.
func foreign(t *testing.T, args []string) *exec.Cmd {
	t.Helper()

	probe, err := emulated(t.Context(), "arm64", []string{"true"})
	if err != nil {
		t.Skipf("not here: %v", err)
	}

	if out, err := probe.CombinedOutput(); err != nil {
		t.Skipf("not here: formats of programs for each user namespace (Linux 6.7), for arm64: %v: %s", err, out)
	}

	cmd, err := emulated(t.Context(), "arm64", args)
	if err != nil {
		t.Fatal(err)
	}

	return cmd
}

// unpack unpacks an archive and gives the path of each file that is not empty, by name.
func unpack(tb testing.TB, archive, into string) map[string]string {
	tb.Helper()

	f, err := os.Open(archive)
	if err != nil {
		tb.Fatal(err)
	}

	defer f.Close()

	z, err := gzip.NewReader(f)
	if err != nil {
		tb.Fatal(err)
	}

	files := map[string]string{}
	for t := tar.NewReader(z); ; {
		h, err := t.Next()
		if err == io.EOF {
			return files
		}
		if err != nil {
			tb.Fatal(err)
		}

		if h.Uid != 0 || h.Gid != 0 || h.Uname != "root" {
			tb.Errorf("%s belongs to %d:%d, %s", h.Name, h.Uid, h.Gid, h.Uname)
		}

		path := filepath.Join(into, h.Name)
		if h.Typeflag == tar.TypeDir {
			if err := os.MkdirAll(path, 0o755); err != nil {
				tb.Fatal(err)
			}

			continue
		}

		content, err := io.ReadAll(t)
		if err != nil {
			tb.Fatal(err)
		}

		if err := os.WriteFile(path, content, h.FileInfo().Mode()); err != nil {
			tb.Fatal(err)
		}

		if len(content) > 0 {
			files[h.Name] = path
		}
	}
}

// TestBOM: the bill of materials names the release, what is linked in and what the
// dashboard is made of.
func TestBOM(t *testing.T) {
	text, err := os.ReadFile(filepath.Join(release(t), "pipelined_"+version+"_linux_arm64.cdx.json"))
	if err != nil {
		t.Fatal(err)
	}

	var bom struct {
		BOMFormat string
		Metadata  struct {
			Component struct{ Name, Version string }
		}
		Components []struct{ Name, Version, PURL string }
	}
	if err := json.Unmarshal(text, &bom); err != nil {
		t.Fatal(err)
	}

	if bom.BOMFormat != "CycloneDX" || bom.Metadata.Component.Version != "v"+version {
		t.Errorf("it is of %+v", bom.Metadata)
	}

	names := map[string]bool{}
	for _, c := range bom.Components {
		names[c.Name] = true
		if c.Version == "" || c.PURL == "" {
			t.Errorf("%s has no version or no package URL", c.Name)
		}
	}

	for _, name := range []string{"std", "github.com/hashicorp/raft", "preact", "@preact/signals"} {
		if !names[name] {
			t.Errorf("%s is missing", name)
		}
	}
}

// TestVersion_refused: a version that a package manager would read differently is refused
// before anything is built.
func TestVersion_refused(t *testing.T) {
	for _, v := range []string{"v1.2.3", "1.2", "1.2.3 -X main.commit=x", "latest"} {
		err := run(t.Context(), []string{"-version", v, "-out", filepath.Join(t.TempDir(), "out")})
		if err == nil || !strings.Contains(err.Error(), "expected MAJOR.MINOR.PATCH") {
			t.Errorf("%q: %v", v, err)
		}
	}
}
