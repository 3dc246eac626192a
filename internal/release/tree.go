package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// tree is what is built for one platform, before it is packed.
type tree struct {
	platform platform
	// root is the source tree, binary the program.
	root, binary string
	// completions holds the scripts for shells, by shell; man the manual pages.
	completions map[string]string
	man         []string
	// licenses is the file with the licences of everything that is linked in.
	licenses string
}

// shells are those that get a completion.
var shells = []string{"bash", "zsh", "fish"}

// tree builds what is packed for one platform.
func (b *build) tree(ctx context.Context, p platform) (*tree, error) {
	t := &tree{platform: p, root: b.root, completions: map[string]string{}}

	var err error
	if t.binary, err = b.binary(ctx, p); err != nil {
		return nil, err
	}

	if err := b.pages(ctx, t); err != nil {
		return nil, err
	}

	t.licenses = filepath.Join(filepath.Dir(t.binary), "THIRD-PARTY-LICENSES")

	return t, b.writeLicenses(ctx, t)
}

// pages writes what the program itself prints: completion and manual.
func (b *build) pages(ctx context.Context, t *tree) error {
	program, err := b.native(ctx)
	if err != nil {
		return err
	}

	dir := filepath.Join(b.work, "pages")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}

	for _, shell := range shells {
		script, err := output(exec.CommandContext(ctx, program, "completion", shell))
		if err != nil {
			return fmt.Errorf("completion: %w", err)
		}

		t.completions[shell] = filepath.Join(dir, "pipelined."+shell)
		if err := os.WriteFile(t.completions[shell], []byte(script+"\n"), 0o644); err != nil {
			return err
		}
	}

	manual := filepath.Join(dir, "man")
	if _, err := output(exec.CommandContext(ctx, program, "man", manual)); err != nil {
		return fmt.Errorf("manual: %w", err)
	}

	t.man, err = filepath.Glob(manual + "/*") // sorted

	return err
}

// manPath is where a page of the manual belongs below a directory: pipelined.1 in man1.
func manPath(page string) string {
	return "man" + strings.TrimPrefix(filepath.Ext(page), ".") + "/" + filepath.Base(page)
}

// source is a file of the source tree.
func (t *tree) source(path string) string { return filepath.Join(t.root, path) }

// file is a file of this package's directory of files.
func (t *tree) file(name string) string { return t.source("internal/release/files/" + name) }

// archive lists the files of the archive.
func (t *tree) archive() ([]entry, error) {
	files := []entry{
		{"pipelined", t.binary, 0o755},
		{"LICENSE", t.source("LICENSE"), 0o644},
		{"THIRD-PARTY-LICENSES", t.licenses, 0o644},
		{"README.md", t.source("README.md"), 0o644},
		{"CHANGELOG.md", t.source("CHANGELOG.md"), 0o644},
		{"completions/pipelined.bash", t.completions["bash"], 0o644},
		{"completions/_pipelined", t.completions["zsh"], 0o644},
		{"completions/pipelined.fish", t.completions["fish"], 0o644},
	}

	if t.platform.os == "linux" {
		files = append(files,
			entry{"systemd/install.sh", t.source("examples/deploy/systemd/install.sh"), 0o755},
			entry{"systemd/pipelined.service", t.file("pipelined.service"), 0o644},
			entry{"systemd/agent.hcl", t.file("agent.hcl"), 0o644})
	}

	for _, page := range t.man {
		files = append(files, entry{"man/" + manPath(page), page, 0o644})
	}

	return files, nil
}
