package main

import (
	"cmp"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/goreleaser/nfpm/v2"
	"github.com/goreleaser/nfpm/v2/deb"
	"github.com/goreleaser/nfpm/v2/files"
	"github.com/goreleaser/nfpm/v2/rpm"
)

const (
	homepage    = "https://github.com/pipelined/pipelined"
	maintainer  = "The pipelined maintainers <maintainers@pipelined.invalid>"
	summary     = "distributed pipeline execution in one binary"
	description = summary + `
Runs pipelines of modules on one machine or many. The nodes find each other,
agree on every step, and move files to where the work is. If the leader is
killed, another node takes over, while all running modules continue.
.
This package has the command line and a systemd service for an agent, which
is neither enabled nor started by the installation.`
	// packageRelease counts packages of the same version.
	packageRelease = "1"
)

// packageVersion is the version in the form of dpkg and rpm: what precedes a release sorts
// before it by a tilde, and hyphens separate nothing else.
func packageVersion(version string) string {
	return strings.ReplaceAll(strings.Replace(version, "-", "~", 1), "-", ".")
}

// pack writes a package for dpkg or rpm.
func (b *build) pack(format string, t *tree) error {
	contents, err := b.contents(format, t)
	if err != nil {
		return err
	}

	script := func(name string) string { return t.file(format + "/" + name) }
	info := nfpm.WithDefaults(&nfpm.Info{
		Name: "pipelined", Arch: t.platform.arch, Platform: "linux", Version: packageVersion(b.version), VersionSchema: "none", Release: packageRelease,
		Section: "admin", Priority: "optional", Maintainer: maintainer, Description: description, Homepage: homepage,
		MTime: b.time, DisableGlobbing: true,
		Overridables: nfpm.Overridables{Contents: contents},
	})

	var packager nfpm.Packager
	var file string
	switch format {
	case "deb":
		packager = deb.Default
		file = fmt.Sprintf("pipelined_%s-%s_%s.deb", info.Version, packageRelease, t.platform.arch)
		info.Depends, info.Recommends = []string{"passwd"}, []string{"systemd"}
		info.Scripts = nfpm.Scripts{PostInstall: script("postinst"), PreRemove: script("prerm"), PostRemove: script("postrm")}
	case "rpm":
		packager = rpm.DefaultRPM
		arch := map[string]string{"amd64": "x86_64", "arm64": "aarch64"}[t.platform.arch]
		file = fmt.Sprintf("pipelined-%s-%s.%s.rpm", info.Version, packageRelease, arch)
		info.Depends = []string{"/usr/sbin/useradd"} // of shadow-utils, and on SUSE of shadow
		info.Scripts = nfpm.Scripts{PostInstall: script("post"), PreRemove: script("preun"), PostRemove: script("postun")}
		info.License = "Apache-2.0"
		info.Description = strings.ReplaceAll(description, "\n.\n", "\n\n") // the line with a dot is Debian's
		info.RPM.Summary, info.RPM.BuildHost, info.RPM.Packager = summary, "localhost", maintainer
	default:
		return fmt.Errorf("unknown format %q", format)
	}

	out, err := os.Create(filepath.Join(b.out, file))
	if err != nil {
		return err
	}

	return cmp.Or(packager.Package(info, out), out.Close())
}

// contents lists the files of a package.
func (b *build) contents(format string, t *tree) (files.Contents, error) {
	const doc = "/usr/share/doc/pipelined/"

	add := func(source, destination, kind string, mode os.FileMode) *files.Content {
		return &files.Content{Source: source, Destination: destination, Type: kind, FileInfo: &files.ContentFileInfo{Mode: mode, MTime: b.time}}
	}
	zsh := map[string]string{"deb": "/usr/share/zsh/vendor-completions", "rpm": "/usr/share/zsh/site-functions"}[format]
	units := map[string]string{"deb": "/lib/systemd/system", "rpm": "/usr/lib/systemd/system"}[format]

	list := files.Contents{
		add(t.binary, "/usr/bin/pipelined", files.TypeFile, 0o755),
		add(t.file("agent.hcl"), "/etc/pipelined/agent.hcl", files.TypeConfigNoReplace, 0o644),
		add(t.file("pipelined.service"), units+"/pipelined.service", files.TypeFile, 0o644),
		add(t.completions["bash"], "/usr/share/bash-completion/completions/pipelined", files.TypeFile, 0o644),
		add(t.completions["zsh"], zsh+"/_pipelined", files.TypeFile, 0o644),
		add(t.completions["fish"], "/usr/share/fish/vendor_completions.d/pipelined.fish", files.TypeFile, 0o644),
	}

	for _, page := range t.man {
		packed, err := compress(page, filepath.Join(b.work, filepath.Base(page)+".gz"))
		if err != nil {
			return nil, err
		}

		list = append(list, add(packed, "/usr/share/man/"+manPath(page)+".gz", files.TypeFile, 0o644))
	}

	if format == "rpm" {
		return append(list,
			add(t.source("LICENSE"), "/usr/share/licenses/pipelined/LICENSE", files.TypeRPMLicense, 0o644),
			add(t.licenses, "/usr/share/licenses/pipelined/THIRD-PARTY-LICENSES", files.TypeRPMLicense, 0o644),
			add(t.source("CHANGELOG.md"), doc+"CHANGELOG.md", files.TypeRPMDoc, 0o644)), nil
	}

	dir := filepath.Dir(t.binary)
	copyright, err := writeCopyright(dir)
	if err != nil {
		return nil, err
	}

	theirs, err := compress(t.licenses, t.licenses+".gz")
	if err != nil {
		return nil, err
	}

	changes, err := compress(t.source("CHANGELOG.md"), filepath.Join(dir, "changelog.gz"))
	if err != nil {
		return nil, err
	}

	log, err := b.writeChangelog(dir)
	if err != nil {
		return nil, err
	}

	return append(list,
		add(copyright, doc+"copyright", files.TypeFile, 0o644),
		add(theirs, doc+"THIRD-PARTY-LICENSES.gz", files.TypeFile, 0o644),
		add(changes, doc+"changelog.gz", files.TypeFile, 0o644),
		add(log, doc+"changelog.Debian.gz", files.TypeFile, 0o644),
		add(t.file("deb/overrides"), "/usr/share/lintian/overrides/pipelined", files.TypeFile, 0o644)), nil
}
