package main

import (
	"archive/tar"
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

const (
	imageName = "ghcr.io/pipelined/pipelined"
	// imageUser, of this number, runs the agent and its modules. imageHome has its data.
	imageUser   = "pipelined"
	imageUserID = 10001
	imageHome   = "var/lib/pipelined"
)

// images builds the image for some processors: for each an archive that `docker load`
// reads, and for all together a layout of OCI, which registries get.
func (b *build) images(ctx context.Context) error {
	// A tag has no +, which a version can have.
	tag, err := name.NewTag(imageName+":"+strings.ReplaceAll(b.version, "+", "-"), name.StrictValidation)
	if err != nil {
		return err
	}

	arches := strings.Split(b.image, ",")
	for _, arch := range arches {
		if !slices.Contains(platforms, platform{"linux", arch}) {
			return fmt.Errorf("-image %q: expected amd64, arm64 or amd64,arm64", b.image)
		}
	}
	if b.base != "" && len(arches) > 1 {
		return errors.New("-base is a root for one processor, and -image names several")
	}

	if err := os.RemoveAll(b.out); err != nil {
		return err
	}
	if err := os.MkdirAll(b.out, 0o755); err != nil {
		return err
	}

	index := mutate.IndexMediaType(empty.Index, types.OCIImageIndex)
	for _, arch := range arches {
		image, err := b.imageFor(ctx, platform{"linux", arch})
		if err != nil {
			return fmt.Errorf("image for %s: %w", arch, err)
		}

		index = mutate.AppendManifests(index, mutate.IndexAddendum{Add: image,
			Descriptor: v1.Descriptor{Platform: &v1.Platform{OS: "linux", Architecture: arch}}}).(v1.ImageIndex)

		file := fmt.Sprintf("pipelined_%s_image_%s.tar", b.version, arch)
		if err := tarball.WriteToFile(filepath.Join(b.out, file), tag, image); err != nil {
			return err
		}
	}

	// The layout's own index names this one alone, which is what registries get: with several
	// images in it their clients would ask which.
	dir, err := layout.Write(filepath.Join(b.out, "oci"), empty.Index)
	if err != nil {
		return err
	}

	return dir.AppendIndex(index)
}

// imageFor puts the program on top of a Debian.
func (b *build) imageFor(ctx context.Context, p platform) (v1.Image, error) {
	t, err := b.tree(ctx, p)
	if err != nil {
		return nil, err
	}

	root, err := b.debian(ctx, p.arch)
	if err != nil {
		return nil, err
	}

	// Cached: the digest and both forms need the compressed bytes.
	base, err := tarball.LayerFromFile(root, tarball.WithMediaType(types.OCILayer), tarball.WithCompressedCaching)
	if err != nil {
		return nil, err
	}

	files, err := imageFiles(t, root, b.time)
	if err != nil {
		return nil, err
	}

	program, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(files)), nil },
		tarball.WithMediaType(types.OCILayer), tarball.WithCompressedCaching)
	if err != nil {
		return nil, err
	}

	image := mutate.MediaType(mutate.ConfigMediaType(empty.Image, types.OCIConfigJSON), types.OCIManifestSchema1)
	image, err = mutate.Append(image, mutate.Addendum{Layer: base, History: b.history("mmdebstrap " + suite)},
		mutate.Addendum{Layer: program, History: b.history("pipelined " + b.version)})
	if err != nil {
		return nil, err
	}

	config, err := image.ConfigFile()
	if err != nil {
		return nil, err
	}

	config = config.DeepCopy()
	config.OS, config.Architecture, config.Created, config.Config = p.os, p.arch, v1.Time{Time: b.time}, b.imageConfig()

	return mutate.ConfigFile(image, config)
}

// history says how a layer was made.
func (b *build) history(by string) v1.History {
	return v1.History{Created: v1.Time{Time: b.time}, CreatedBy: by}
}

// imageConfig says how a container of the image runs: any other command replaces "agent".
func (b *build) imageConfig() v1.Config {
	return v1.Config{
		// By number: Kubernetes cannot know that a name is not root.
		User:       fmt.Sprintf("%d:%d", imageUserID, imageUserID),
		Entrypoint: []string{"pipelined"},
		Cmd:        []string{"agent"},
		WorkingDir: "/" + imageHome,
		StopSignal: "SIGTERM",
		Volumes:    map[string]struct{}{"/" + imageHome: {}},
		// The directory of the node names no address, so that a container with another one
		// is the same node. The modules of a container end with it, so that a stop waits for
		// them. Commands in the container find the agent by XDG_STATE_HOME.
		Env: []string{
			"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/" + imageHome, "XDG_STATE_HOME=/var/lib",
			"PIPELINED_DATA_DIR=/" + imageHome + "/agents/node", "PIPELINED_DRAIN_ON_STOP=true",
		},
		ExposedPorts: map[string]struct{}{"8080/tcp": {}, "7946/tcp": {}, "7946/udp": {}, "7947/tcp": {}},
		// Docker's; OCI has none, and other engines read over it. Exit code 5 means: no leader.
		Healthcheck: &v1.HealthConfig{Test: []string{"CMD", "pipelined", "-timeout", "5s", "status"},
			Interval: 10 * time.Second, Timeout: 10 * time.Second, StartPeriod: time.Minute, Retries: 3},
		Labels: map[string]string{
			"org.opencontainers.image.title":         "pipelined",
			"org.opencontainers.image.description":   summary,
			"org.opencontainers.image.version":       b.version,
			"org.opencontainers.image.revision":      b.commit,
			"org.opencontainers.image.created":       b.time.Format(time.RFC3339),
			"org.opencontainers.image.url":           homepage,
			"org.opencontainers.image.source":        homepage,
			"org.opencontainers.image.documentation": homepage + "/blob/main/docs/deploy.md",
			"org.opencontainers.image.licenses":      "Apache-2.0",
		},
	}
}

// imageFiles is the layer of the program: with its licences, the user, and the directory of
// its data, which belongs to the user.
func imageFiles(t *tree, root string, mtime time.Time) ([]byte, error) {
	var out bytes.Buffer
	w := tar.NewWriter(&out)
	made := map[string]bool{"usr/bin": true, "usr/share/doc": true} // as Debian has them

	for _, e := range []entry{
		{"usr/bin/pipelined", t.binary, 0o755},
		{"usr/share/doc/pipelined/LICENSE", t.source("LICENSE"), 0o644},
		{"usr/share/doc/pipelined/THIRD-PARTY-LICENSES", t.licenses, 0o644},
	} {
		if err := writeParents(w, path.Dir(e.name), made, mtime); err != nil {
			return nil, err
		}

		if err := writeFile(w, e.name, e, mtime); err != nil {
			return nil, err
		}
	}

	accounts := map[string]string{
		"etc/passwd": fmt.Sprintf("%s:*:%d:%d::/%s:/bin/sh\n", imageUser, imageUserID, imageUserID, imageHome),
		"etc/group":  fmt.Sprintf("%s:*:%d:\n", imageUser, imageUserID),
	}
	for _, file := range []string{"etc/group", "etc/passwd"} {
		text, err := tarFile(root, file)
		if err != nil {
			return nil, err
		}

		text = append(text, accounts[file]...)
		if err := w.WriteHeader(header(file, tar.TypeReg, 0o644, int64(len(text)), mtime)); err != nil {
			return nil, err
		}

		if _, err := w.Write(text); err != nil {
			return nil, err
		}
	}

	data := header(imageHome+"/", tar.TypeDir, 0o700, 0, mtime)
	data.Uid, data.Gid, data.Uname, data.Gname = imageUserID, imageUserID, imageUser, imageUser

	err := cmp.Or(w.WriteHeader(data), w.Close()) // before its bytes are taken

	return out.Bytes(), err
}

// tarFile reads a file of an archive.
func tarFile(archive, name string) ([]byte, error) {
	f, err := os.Open(archive)
	if err != nil {
		return nil, err
	}

	defer f.Close()

	for t := tar.NewReader(f); ; {
		h, err := t.Next()
		if err != nil {
			return nil, fmt.Errorf("%s in %s: %w", name, archive, err)
		}

		if path.Clean(h.Name) == name {
			return io.ReadAll(t)
		}
	}
}
