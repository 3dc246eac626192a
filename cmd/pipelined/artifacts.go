package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
	"sync/atomic"

	"github.com/dustin/go-humanize"
	"github.com/urfave/cli/v3"
	"golang.org/x/sync/errgroup"

	"github.com/pipelined/pipelined/api/client"
	"github.com/pipelined/pipelined/api/wire"
	"github.com/pipelined/pipelined/pipeline"
)

// artifactStreams is how many files are fetched at once.
const artifactStreams = 4

func (p *program) artifactsCommand() *cli.Command {
	return &cli.Command{
		Name: "artifacts", Usage: "lists the output files of a run, or fetches them", ArgsUsage: "RUN [MODULE]",
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "o", Usage: "write them into this `DIR`, as DIR/<module>/<path>", Local: true},
			jsonFlag(),
		},
		Action: p.action(1, 2, p.artifacts),
	}
}

func (p *program) artifacts(ctx context.Context, cmd *cli.Command) error {
	id, err := runArg(cmd, 0)
	if err != nil {
		return err
	}
	module, dir := cmd.Args().Get(1), cmd.String("o")
	switch {
	case cmd.Args().Len() == 2 && !wire.ValidModule(module):
		return usagef("artifacts: %.80q cannot be the name of a module", module)
	case cmd.IsSet("o") && dir == "":
		return usagef("artifacts: -o names no folder")
	}
	c, err := p.connectRead(ctx)
	if err != nil {
		return err
	}
	list, err := c.Artifacts(ctx, id, module)
	if err != nil {
		return err
	}
	if list.Artifacts == nil {
		list.Artifacts = []wire.Artifact{}
	}
	if dir != "" {
		n, err := fetchArtifacts(ctx, c, id, dir, list.Artifacts)
		if err != nil {
			return err
		}
		p.tell("%d files (%s) in %s", len(list.Artifacts), humanize.IBytes(uint64(n)), dir)
	}
	if cmd.Bool("json") {
		return p.printJSON(list)
	}
	if dir != "" {
		return nil
	}
	t := newTable(p.stdout, "MODULE", "PATH", "SIZE", "MODE")
	for _, a := range list.Artifacts {
		name := a.Path
		if a.Link != "" {
			name += " -> " + a.Link
		}
		t.row(a.Module, name, humanize.IBytes(uint64(max(a.Size, 0))), fmt.Sprintf("%04o", a.Mode&0o777))
	}
	return t.flush()
}

// fetchArtifacts writes outputs below dir and gives their size in bytes. Names
// come from modules: nothing is written outside of dir, whatever they say.
func fetchArtifacts(ctx context.Context, c *client.Client, id pipeline.RunID, dir string, list []wire.Artifact) (int64, error) {
	if err := os.MkdirAll(dir, 0o777); err != nil {
		return 0, usagef("make folder for artifacts: %w", fileError(err))
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return 0, usagef("open folder for artifacts: %w", err)
	}
	defer root.Close()
	var total atomic.Int64
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(artifactStreams)
	for _, a := range list {
		if a.Link != "" {
			continue
		}
		g.Go(func() error {
			n, err := fetchArtifact(gctx, c, id, root, a)
			total.Add(n)
			return err
		})
	}
	if err := g.Wait(); err != nil {
		return total.Load(), err
	}
	// Links come last, so that no file is written through one of them.
	for _, a := range list {
		if a.Link == "" {
			continue
		}
		if err := placeLink(root, a); err != nil {
			return total.Load(), err
		}
	}
	return total.Load(), nil
}

// artifactPath is where an artifact goes, relative to the folder: slashes in an
// instance's key cannot be part of a folder's name.
func artifactPath(a wire.Artifact) (string, error) {
	module := strings.ReplaceAll(a.Module, "/", "_")
	if !wire.ValidModule(a.Module) || !filepath.IsLocal(a.Path) || path.Clean(a.Path) != a.Path || strings.ContainsRune(a.Path, 0) {
		return "", fmt.Errorf("artifact %q of %q: its path leads elsewhere", a.Path, a.Module)
	}
	return path.Join(module, a.Path), nil
}

// fetchArtifact writes one file: beside its place first, so that a file with
// that name is always whole, and verified.
func fetchArtifact(ctx context.Context, c *client.Client, id pipeline.RunID, root *os.Root, a wire.Artifact) (n int64, err error) {
	name, err := artifactPath(a)
	if err != nil {
		return 0, err
	}
	in, head, err := c.OpenArtifact(ctx, id, a.Module, a.Path)
	if err != nil {
		return 0, err
	}
	defer in.Close()
	if err := root.MkdirAll(path.Dir(name), 0o777); err != nil {
		return 0, wrap("write artifact", err)
	}
	part := name + ".part"
	out, err := root.OpenFile(part, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return 0, wrap("write artifact", err)
	}
	defer func() {
		if err != nil {
			_ = root.Remove(part) // what failed is what counts
		}
	}()
	sum := sha256.New()
	n, err = io.Copy(io.MultiWriter(out, sum), in)
	mode := a.Mode
	if mode == 0 {
		mode = head.Mode
	}
	if err == nil {
		err = out.Chmod(fs.FileMode(mode & 0o777))
	}
	if cerr := out.Close(); err == nil {
		err = cerr
	}
	if err != nil {
		return n, fmt.Errorf("fetch artifact %s of %s: %w", a.Path, a.Module, err)
	}
	if got := hex.EncodeToString(sum.Sum(nil)); a.Digest != "" && got != string(a.Digest) {
		return n, fmt.Errorf("fetch artifact %s of %s: its bytes have the digest %s, not %s", a.Path, a.Module, got, a.Digest)
	}
	return n, wrap("write artifact", root.Rename(part, name))
}

// placeLink makes a link, whose target must lie in its module's folder.
func placeLink(root *os.Root, a wire.Artifact) error {
	name, err := artifactPath(a)
	if err != nil {
		return err
	}
	if path.IsAbs(a.Link) || !filepath.IsLocal(path.Join(path.Dir(a.Path), a.Link)) {
		return fmt.Errorf("artifact %s of %s: the link to %q leads elsewhere", a.Path, a.Module, a.Link)
	}
	if err := root.MkdirAll(path.Dir(name), 0o777); err != nil {
		return wrap("write artifact", err)
	}
	if info, err := root.Lstat(name); err == nil && !info.IsDir() {
		if err := root.Remove(name); err != nil {
			return wrap("write artifact", err)
		}
	} else if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return wrap("write artifact", err)
	}
	return wrap("write artifact", root.Symlink(a.Link, name))
}
