package main

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"debug/buildinfo"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"regexp"
	"runtime/debug"
	"strings"

	"golang.org/x/mod/module"
)

// licenseFile matches the names of files with a licence.
var licenseFile = regexp.MustCompile(`(?i)^(licen[cs]e|copying|notice|unlicense)([-.].*)?$`)

// writeLicenses collects the licences of what is linked into a binary: most of them
// demand that their text goes along.
func (b *build) writeLicenses(ctx context.Context, t *tree) error {
	info, err := buildinfo.ReadFile(t.binary)
	if err != nil {
		return err
	}

	env, err := output(exec.CommandContext(ctx, "go", "env", "GOMODCACHE", "GOROOT"))
	if err != nil {
		return err
	}

	cache, goroot, _ := strings.Cut(env, "\n")

	var out bytes.Buffer
	fmt.Fprintf(&out, "pipelined contains the programs below, under the licences that follow their names.\n")
	if err := addLicenses(&out, "Go "+info.GoVersion, goroot); err != nil {
		return err
	}

	for _, dep := range info.Deps {
		dir, err := moduleDir(cache, dep)
		if err != nil {
			return err
		}

		if err := addLicenses(&out, dep.Path+" "+dep.Version, dir); err != nil {
			return err
		}
	}

	if err := b.addDashboard(&out); err != nil {
		return err
	}

	return os.WriteFile(t.licenses, out.Bytes(), 0o644)
}

// moduleDir is where Go keeps the source of a module.
func moduleDir(cache string, dep *debug.Module) (string, error) {
	if dep.Replace != nil {
		dep = dep.Replace
	}

	path, err := module.EscapePath(dep.Path)
	if err != nil {
		return "", err
	}

	version, err := module.EscapeVersion(dep.Version)
	if err != nil {
		return "", err
	}

	return filepath.Join(cache, filepath.FromSlash(path)+"@"+version), nil
}

// addLicenses adds the licences in a directory. A program without one is an error: it must not be
// distributed.
func addLicenses(out *bytes.Buffer, name, dir string) error {
	files, err := os.ReadDir(dir)
	if err != nil {
		return fmt.Errorf("licence of %s: %w", name, err)
	}

	found := false
	for _, f := range files {
		if f.IsDir() || !licenseFile.MatchString(f.Name()) {
			continue
		}

		text, err := os.ReadFile(filepath.Join(dir, f.Name()))
		if err != nil {
			return err
		}

		addLicense(out, name, text)
		found = true
	}

	if !found {
		return fmt.Errorf("licence of %s: none in %s", name, dir)
	}

	return nil
}

// addLicense adds the text of one licence.
func addLicense(out *bytes.Buffer, name string, text []byte) {
	fmt.Fprintf(out, "\n%s\n%s\n\n%s\n", strings.Repeat("=", 78), name, bytes.TrimSpace(bytes.ReplaceAll(text, []byte("\r\n"), []byte("\n"))))
}

// addDashboard adds the licences of what the dashboard is made of: packages of npm, in
// archives, and fonts.
func (b *build) addDashboard(out *bytes.Buffer) error {
	packages, err := filepath.Glob(filepath.Join(b.root, "api/ui/src/npm/*.tgz"))
	if err != nil {
		return err
	}

	for _, file := range packages {
		text, err := packageLicense(file)
		if err != nil {
			return fmt.Errorf("licence of %s: %w", filepath.Base(file), err)
		}

		addLicense(out, strings.TrimSuffix(filepath.Base(file), ".tgz"), text)
	}

	fonts, err := filepath.Glob(filepath.Join(b.root, "api/ui/src/fonts/*-LICENSE.txt"))
	if err != nil {
		return err
	}

	for _, file := range fonts {
		text, err := os.ReadFile(file)
		if err != nil {
			return err
		}

		addLicense(out, strings.TrimSuffix(filepath.Base(file), "-LICENSE.txt"), text)
	}

	return nil
}

// packageLicense reads the licence in a package of npm.
func packageLicense(file string) ([]byte, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, err
	}

	defer f.Close()

	z, err := gzip.NewReader(f)
	if err != nil {
		return nil, err
	}

	for t := tar.NewReader(z); ; {
		h, err := t.Next()
		if err != nil {
			return nil, err // io.EOF: there is none
		}

		if dir, name := path.Split(h.Name); dir == "package/" && licenseFile.MatchString(name) {
			return io.ReadAll(t)
		}
	}
}
