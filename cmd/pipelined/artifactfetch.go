package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"

	"golang.org/x/sync/errgroup"

	"github.com/pipelined/pipelined/api/client"
	"github.com/pipelined/pipelined/api/wire"
	"github.com/pipelined/pipelined/pipeline"
	"github.com/pipelined/pipelined/storage/blob"
)

const (
	// artifactStreams is how many fetches there are at once.
	artifactStreams = 4
	// artifactBundle is how many small files one of them brings at the most, and
	// artifactBundleBytes about how much: an interrupted one begins anew.
	artifactBundle, artifactBundleBytes = 500, 4 << 20
	// keptPart is from what size on, in bytes, the beginning of a file that did not
	// come whole is kept for the next call.
	keptPart = 1 << 20
)

// artifactFetch writes outputs of a run into a directory. Names come from modules:
// nothing is written outside of it, whatever they say.
type artifactFetch struct {
	c    *client.Client
	run  pipeline.RunID
	root *os.Root
	dir  string // as it was given
	// names are those of all files, so that no file under way takes the place of one.
	names map[string]bool

	// leftOut says which artifacts are not written, and why.
	leftOut []string

	bytes, there atomic.Int64 // of all files; and how many of them were here
}

// artifactFile is an output and where it goes.
type artifactFile struct {
	wire.Artifact
	name string
}

// fetchArtifacts writes outputs below dir. What is there already with the right
// bytes is left alone, so that a call that was cut resumes where it was.
func fetchArtifacts(ctx context.Context, api *client.Client, id pipeline.RunID, dir string, list []wire.Artifact) (*artifactFetch, error) {
	if err := os.MkdirAll(dir, 0o777); err != nil {
		return nil, usagef("create directory for artifacts: %w", fileError(err))
	}

	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, usagef("open directory for artifacts: %w", err)
	}

	defer root.Close()
	f := &artifactFetch{c: api, run: id, root: root, dir: dir, names: make(map[string]bool, len(list))}
	var files, links []artifactFile
	for _, a := range list {
		name, err := artifactPath(a)
		if err != nil {
			return nil, err
		}

		f.names[name] = true
		if a.Link != "" {
			links = append(links, artifactFile{a, name})
		} else {
			files = append(files, artifactFile{a, name})
		}
	}

	if err := f.fetch(ctx, files); err != nil {
		return nil, err
	}

	// Links come last, so that no file is written through one of them.
	for _, l := range links {
		if err := f.placeLink(l); err != nil {
			return nil, err
		}
	}

	return f, nil
}

// artifactPath is where an artifact goes, relative to the directory: slashes in an
// instance's key cannot be part of a directory's name.
func artifactPath(a wire.Artifact) (string, error) {
	module := strings.ReplaceAll(a.Module, "/", "_")
	if !wire.ValidModule(a.Module) || !filepath.IsLocal(a.Path) || path.Clean(a.Path) != a.Path || strings.ContainsRune(a.Path, 0) {
		return "", fmt.Errorf("artifact %q of %q: its path leads out of the module's directory", a.Path, a.Module)
	}

	return path.Join(module, a.Path), nil
}

// fetch brings the files that are not there: small ones together, others each by
// itself.
func (f *artifactFetch) fetch(ctx context.Context, files []artifactFile) error {
	missing, err := f.missing(ctx, files)
	if err != nil {
		return err
	}

	var bundles []bundled
	var single []artifactFile
	var size int64
	at := map[pipeline.Digest]bundled{}
	for _, a := range missing {
		if a.Digest == "" || a.Size > wire.MaxBundledBlob {
			single = append(single, a)
			continue
		}

		if b := at[a.Digest]; b != nil { // the same bytes at another path
			b[a.Digest] = append(b[a.Digest], a)
			continue
		}

		if n := len(bundles); n == 0 || len(bundles[n-1]) == artifactBundle || size+a.Size > artifactBundleBytes {
			bundles, size = append(bundles, bundled{}), 0
		}

		b := bundles[len(bundles)-1]
		b[a.Digest], at[a.Digest], size = []artifactFile{a}, b, size+a.Size
	}

	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(artifactStreams)
	for _, b := range bundles {
		g.Go(func() error { return f.fetchBundle(gctx, b) })
	}

	for _, a := range single {
		g.Go(func() error { return f.fetchSingle(gctx, a) })
	}

	return g.Wait()
}

// missing gives the files that are not there with their bytes.
func (f *artifactFetch) missing(ctx context.Context, files []artifactFile) ([]artifactFile, error) {
	here := make([]bool, len(files))
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(artifactStreams)
	for part := range slices.Chunk(makeRange(len(files)), 64) {
		g.Go(func() error {
			for _, i := range part {
				if gctx.Err() != nil {
					return context.Cause(gctx)
				}
				here[i] = f.isThere(files[i])
			}
			return nil
		})
	}

	if err := g.Wait(); err != nil {
		return nil, err
	}

	var missing []artifactFile
	for i, a := range files {
		if !here[i] {
			missing = append(missing, a)
			continue
		}

		f.there.Add(1)
		f.bytes.Add(a.Size)
	}

	return missing, nil
}

func makeRange(n int) []int {
	list := make([]int, n)
	for i := range list {
		list[i] = i
	}

	return list
}

// isThere reports whether a file has its bytes already, and sees to its mode.
func (f *artifactFetch) isThere(a artifactFile) bool {
	info, err := f.root.Lstat(a.name)
	if err != nil || a.Digest == "" || !info.Mode().IsRegular() || info.Size() != a.Size {
		return false
	}

	in, err := f.root.Open(a.name)
	if err != nil {
		return false
	}

	defer in.Close()
	sum := sha256.New()
	if _, err := io.Copy(sum, in); err != nil || hex.EncodeToString(sum.Sum(nil)) != string(a.Digest) {
		return false
	}

	mode := fs.FileMode(a.Mode & 0o777)
	return a.Mode == 0 || info.Mode().Perm() == mode || in.Chmod(mode) == nil
}

// bundled are files by their digests; blob.ReadBundle puts blobs into it.
type bundled map[pipeline.Digest][]artifactFile

// fetchBundle brings small files together, and by themselves those that did not
// come so: each of them has its own error.
func (f *artifactFetch) fetchBundle(ctx context.Context, b bundled) error {
	digests := make([]pipeline.Digest, 0, len(b))
	for d := range b {
		digests = append(digests, d)
	}

	slices.Sort(digests)
	p := &placing{f: f, left: b}
	in, err := f.c.Blobs().GetBundle(ctx, digests)
	if err == nil {
		// If it broke off, what is left is asked for below.
		_, _ = blob.ReadBundle(ctx, in, blob.BundleLimits{BlobBytes: wire.MaxBundledBlob, Blobs: len(b)}, p)
		_ = in.Close() // it was only read
	}

	if ctx.Err() != nil {
		return context.Cause(ctx)
	}

	if p.err != nil {
		return p.err // this disk's
	}

	// What is missing in a bundle, for whatever reason, is asked for again.
	for _, d := range digests {
		for _, a := range b[d] {
			if err := f.fetchSingle(ctx, a); err != nil {
				return err
			}
		}
	}

	return nil
}

// fetchSingle brings one file. Of a long one that does not come whole the
// beginning is kept, and the next call resumes there.
func (f *artifactFetch) fetchSingle(ctx context.Context, a artifactFile) error {
	out, part, err := f.openPart(a, 0)
	if err != nil {
		return err
	}

	whole := false
	defer func() {
		if info, err := out.Stat(); !whole && (err != nil || a.Digest == "" || info.Size() < keptPart) {
			_ = f.root.Remove(part) // what failed is what counts
		}
		_ = out.Close() // closed before where it is whole
	}()
	mode, n, err := f.bring(ctx, a, out)
	if err != nil {
		return err
	}

	if a.Mode != 0 {
		mode = a.Mode
	}

	whole = true
	f.bytes.Add(n)
	return f.place(a, out, part, mode)
}

// bring fills a file with the bytes of an output, from where it has them on.
func (f *artifactFetch) bring(ctx context.Context, a artifactFile, out *os.File) (mode uint32, size int64, err error) {
	sum := sha256.New()
	have, err := io.Copy(sum, out)
	if err == nil && have == a.Size && a.Digest != "" && matches(a, sum) {
		return a.Mode, have, nil // only its name was missing
	}

	if err == nil && have > 0 && have < a.Size && a.Digest != "" {
		if in, oerr := f.c.Blobs().GetFrom(ctx, a.Digest, a.Size, have, sum); oerr == nil {
			n, cerr := io.Copy(out, in)
			_ = in.Close() // it was only read
			if cerr == nil && matches(a, sum) {
				return a.Mode, have + n, nil
			}

			if ctx.Err() != nil || pipeline.KindOf(cerr) == pipeline.Unavailable {
				return 0, 0, fmt.Errorf("fetch artifact %s of %s: %w", a.Path, a.Module, cerr)
			}
			// What was here is something else: the whole is brought.
		}
	}

	if err = out.Truncate(0); err == nil {
		_, err = out.Seek(0, io.SeekStart)
	}

	if err != nil {
		return 0, 0, f.failed(a, err)
	}

	in, head, err := f.c.Artifacts().Open(ctx, f.run, a.Module, a.Path)
	if err != nil {
		return 0, 0, gone(err)
	}

	defer in.Close()
	sum.Reset()
	n, err := io.Copy(io.MultiWriter(out, sum), in)
	if err != nil {
		return 0, n, fmt.Errorf("fetch artifact %s of %s: %w", a.Path, a.Module, err)
	}

	if !matches(a, sum) {
		_ = out.Truncate(0) // nothing of it is to be gone on with
		return 0, n, fmt.Errorf("fetch artifact %s of %s: its bytes have the digest %x, not %s", a.Path, a.Module, sum.Sum(nil), a.Digest)
	}

	return head.Mode, n, nil
}

func matches(a artifactFile, sum hash.Hash) bool {
	return a.Digest == "" || hex.EncodeToString(sum.Sum(nil)) == string(a.Digest)
}

// gone is the error of a file that the listing named a moment ago: that it is not
// found is no wrong name of the caller's.
func gone(err error) error {
	if pipeline.KindOf(err) == pipeline.NotFound {
		return failf(exitFailed, "%w", err)
	}
	return err
}
