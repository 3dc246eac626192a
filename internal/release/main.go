// Command release builds what users install: for each platform an archive with a
// bill of materials, and for Linux packages for dpkg and rpm; with -image an image of
// containers. It is a module of its own, so that the product's go.mod names none of what it
// needs.
//
// The same commit, version and release of Go give the same bytes: every time is the
// commit's, every list is sorted, and no name of a machine, user or directory is
// written.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()

	if err := run(ctx, os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "release:", err)
		os.Exit(1)
	}
}

// run builds a release as the arguments say.
func run(ctx context.Context, args []string) error {
	var c config

	flags := flag.NewFlagSet("release", flag.ContinueOnError)
	flags.StringVar(&c.root, "root", "../..", "`DIR` of the source tree")
	flags.StringVar(&c.out, "out", "../../bin/release", "`DIR` for the results; what it has is deleted")
	flags.StringVar(&c.version, "version", "", "`VERSION` of the release, without v (default: the tag of the commit, else one made of its time and hash)")
	flags.StringVar(&c.tags, "tags", "", "build `TAGS` of the binary")
	flags.StringVar(&c.image, "image", "", "build images of containers instead, for these `PROCESSORS`: amd64, arm64 or amd64,arm64")
	flags.StringVar(&c.base, "base", "", "`FILE` with a root of Debian for the image, as a tar (default: one that mmdebstrap makes)")
	flags.StringVar(&c.ldflags, "ldflags", "", "`FLAGS` of the linker")
	if err := flags.Parse(args); err != nil {
		return err
	}

	b, err := newBuild(ctx, c)
	if err != nil {
		return err
	}

	defer os.RemoveAll(b.work)

	if c.image != "" {
		return b.images(ctx)
	}

	return b.release(ctx)
}

// release builds everything into the directory of the results.
func (b *build) release(ctx context.Context) error {
	if err := os.RemoveAll(b.out); err != nil {
		return err
	}
	if err := os.MkdirAll(b.out, 0o755); err != nil {
		return err
	}

	for _, p := range platforms {
		t, err := b.tree(ctx, p)
		if err != nil {
			return fmt.Errorf("%s: %w", p, err)
		}

		if err := b.platform(t); err != nil {
			return fmt.Errorf("%s: %w", p, err)
		}
	}

	return writeSums(b.out)
}

// platform writes what is released for one platform.
func (b *build) platform(t *tree) error {
	name := fmt.Sprintf("pipelined_%s_%s_%s", b.version, t.platform.os, t.platform.arch)

	if err := writeBOM(filepath.Join(b.out, name+".cdx.json"), b, t); err != nil {
		return err
	}

	files, err := t.archive()
	if err != nil {
		return err
	}

	if err := writeArchive(filepath.Join(b.out, name+".tar.gz"), name, files, b.time); err != nil {
		return err
	}

	if t.platform.os != "linux" {
		return nil
	}

	for _, format := range []string{"deb", "rpm"} {
		if err := b.pack(format, t); err != nil {
			return fmt.Errorf("%s: %w", format, err)
		}
	}

	return nil
}
