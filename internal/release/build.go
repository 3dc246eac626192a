package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"time"
)

// platform is an operating system and a processor, by Go's names.
type platform struct{ os, arch string }

func (p platform) String() string { return p.os + "/" + p.arch }

// platforms are those that a release is for. Agents run on Linux alone; macOS has the
// command line.
var platforms = []platform{{"linux", "amd64"}, {"linux", "arm64"}, {"darwin", "arm64"}}

// config is what the caller decides.
type config struct {
	// root is the source tree, out the directory of the results.
	root, out string
	// version is that of the release; "" for that of the commit.
	version string
	// tags and ldflags are those of the Makefile.
	tags, ldflags string
	// image lists the processors that an image is built for, base is the root below it.
	image, base string
}

// build is one release in the making.
type build struct {
	config
	// commit is the hash of what is built, time the commit's, and that of every file in
	// every archive.
	commit string
	time   time.Time
	// work holds what is built before it is packed; the caller deletes it.
	work string
}

// validVersion keeps out what a package manager, a file name or a linker flag would
// read differently.
var validVersion = regexp.MustCompile(`^[0-9]+\.[0-9]+\.[0-9]+(-[0-9A-Za-z.-]+)?(\+[0-9A-Za-z.-]+)?$`)

// newBuild asks git what is to be built.
func newBuild(ctx context.Context, c config) (*build, error) {
	b := &build{config: c}
	for _, dir := range []*string{&b.root, &b.out} {
		abs, err := filepath.Abs(*dir)
		if err != nil {
			return nil, err
		}

		*dir = abs
	}

	line, err := b.git(ctx, "log", "-1", "--format=%H %ct")
	if err != nil {
		return nil, err
	}

	var seconds int64
	if _, err := fmt.Sscan(line, &b.commit, &seconds); err != nil {
		return nil, fmt.Errorf("commit of git: %q: %w", line, err)
	}

	b.time = time.Unix(seconds, 0).UTC()
	if b.version == "" {
		if b.version, err = b.commitVersion(ctx); err != nil {
			return nil, err
		}
	}

	if !validVersion.MatchString(b.version) {
		return nil, fmt.Errorf("version %q: expected MAJOR.MINOR.PATCH, with -PRERELEASE or +BUILD if need be, without v", b.version)
	}

	b.work, err = os.MkdirTemp("", "pipelined-release-")

	return b, err
}

// commitVersion is the version of the commit as Go would stamp it, without v: its tag, else
// its time and hash. Changes that are not committed add +dirty.
func (b *build) commitVersion(ctx context.Context) (string, error) {
	version := fmt.Sprintf("0.0.0-%s-%.12s", b.time.Format("20060102150405"), b.commit)

	tags, err := b.git(ctx, "tag", "--points-at", "HEAD", "--sort=-v:refname", "v[0-9]*")
	if err != nil {
		return "", err
	}

	if tag, _, _ := strings.Cut(tags, "\n"); tag != "" {
		version = tag[1:]
	}

	changes, err := b.git(ctx, "status", "--porcelain")
	if changes != "" {
		version += "+dirty"
	}

	return version, err
}

// git runs git in the source tree and gives what it prints.
func (b *build) git(ctx context.Context, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, "git", args...)
	cmd.Dir = b.root

	return output(cmd)
}

// output runs a command and gives what it prints, without the last end of line.
func output(cmd *exec.Cmd) (string, error) {
	var stderr bytes.Buffer
	cmd.Stderr = &stderr

	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("%s: %w: %s", strings.Join(cmd.Args, " "), err, strings.TrimSpace(stderr.String()))
	}

	return strings.TrimRight(string(out), "\n"), nil
}

// binary builds the program for one platform, once, and gives the file.
func (b *build) binary(ctx context.Context, p platform) (string, error) {
	file := filepath.Join(b.work, p.os+"-"+p.arch, "pipelined")
	if _, err := os.Stat(file); err == nil {
		return file, nil
	} else if !errors.Is(err, os.ErrNotExist) {
		return "", err
	}

	// Not Go's own stamp, which a second working tree of one clone does not get.
	stamps := fmt.Sprintf(" -X main.version=%s -X main.commit=%s -X main.commitTime=%s", b.version, b.commit, b.time.Format(time.RFC3339))
	cmd := exec.CommandContext(ctx, "go", "build", "-trimpath", "-buildvcs=false", "-tags", b.tags,
		"-ldflags", strings.TrimSpace(b.ldflags+stamps), "-o", file, "./cmd/pipelined")
	cmd.Dir = b.root
	// The first level of each processor, and no flags of the user who builds: they would
	// be part of the result. Without a value go would take those of "go env -w".
	cmd.Env = append(os.Environ(), "GOOS="+p.os, "GOARCH="+p.arch, "CGO_ENABLED=0", "GOFLAGS=-mod=readonly", "GOWORK=off", "GOEXPERIMENT=",
		"GOAMD64=v1", "GOARM64=v8.0")

	_, err := output(cmd)

	return file, err
}

// native builds the program for the machine that builds, which asks it for its
// completion.
func (b *build) native(ctx context.Context) (string, error) {
	return b.binary(ctx, platform{runtime.GOOS, runtime.GOARCH})
}
