package main

import (
	"archive/tar"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/validate"
)

// smallBase is a root with nothing but the accounts of root.
func smallBase(tb testing.TB) string {
	tb.Helper()

	file := filepath.Join(tb.TempDir(), "root.tar")
	f, err := os.Create(file)
	if err != nil {
		tb.Fatal(err)
	}

	defer f.Close()

	w := tar.NewWriter(f)
	for name, text := range map[string]string{"./etc/passwd": "root:x:0:0:root:/root:/bin/sh\n", "./etc/group": "root:x:0:\n"} {
		if err := w.WriteHeader(&tar.Header{Name: name, Mode: 0o644, Size: int64(len(text))}); err != nil {
			tb.Fatal(err)
		}

		if _, err := w.Write([]byte(text)); err != nil {
			tb.Fatal(err)
		}
	}

	if err := w.Close(); err != nil {
		tb.Fatal(err)
	}

	return file
}

// imageIndex is the only index of a layout: the image of all processors.
func imageIndex(tb testing.TB, dir string) v1.ImageIndex {
	tb.Helper()

	all, err := layout.ImageIndexFromPath(dir)
	if err != nil {
		tb.Fatal(err)
	}

	manifest, err := all.IndexManifest()
	if err != nil {
		tb.Fatal(err)
	}

	if len(manifest.Manifests) != 1 {
		tb.Fatalf("the layout has %d entries, want one index: %+v", len(manifest.Manifests), manifest.Manifests)
	}

	index, err := all.ImageIndex(manifest.Manifests[0].Digest)
	if err != nil {
		tb.Fatal(err)
	}

	return index
}

// TestImage builds the image twice on the same root: it is valid, for its processor, and
// has the same digest both times. test/deploy starts one on Debian.
func TestImage(t *testing.T) {
	b := testBuild(t, version+"+dirty", "")
	b.base, b.image = smallBase(t), runtime.GOARCH

	var digests []string
	for range 2 {
		b.out = filepath.Join(t.TempDir(), "image")
		if err := b.images(t.Context()); err != nil {
			t.Fatal(err)
		}

		if _, err := os.Stat(filepath.Join(b.out, "pipelined_"+b.version+"_image_"+runtime.GOARCH+".tar")); err != nil {
			t.Error(err)
		}

		index := imageIndex(t, filepath.Join(b.out, "oci"))
		manifest, err := index.IndexManifest()
		if err != nil {
			t.Fatal(err)
		}

		if len(manifest.Manifests) != 1 || manifest.Manifests[0].Platform.Architecture != runtime.GOARCH {
			t.Fatalf("manifests: %+v", manifest.Manifests)
		}

		if err := validate.Index(index); err != nil {
			t.Error(err)
		}

		digests = append(digests, manifest.Manifests[0].Digest.String())
	}

	if digests[0] != digests[1] {
		t.Errorf("two builds differ: %s", digests)
	}
}

// TestImage_refused: what no image can be built for is refused before anything is built.
func TestImage_refused(t *testing.T) {
	for want, args := range map[string][]string{
		"expected amd64, arm64 or amd64,arm64": {"-image", "mips"},
		"-base is a root for one processor":    {"-image", "amd64,arm64", "-base", "root.tar"},
	} {
		err := run(t.Context(), append(args, "-out", filepath.Join(t.TempDir(), "out"), "-version", version))
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v: %v", args, err)
		}
	}
}
