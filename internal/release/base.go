package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
)

const (
	// suite is the release of Debian below the program.
	suite = "bookworm"
	// packages are what the base has beyond apt and a shell: to verify certificates, to
	// fetch sources, and for the time zones of modules.
	packages = "ca-certificates,git,tzdata"
)

// debian makes the root of a Debian, or gives that of the caller.
func (b *build) debian(ctx context.Context, arch string) (string, error) {
	if b.base != "" {
		return b.base, nil
	}

	file := filepath.Join(b.work, "root-"+arch+".tar")
	args := []string{"mmdebstrap", "--variant=apt", "--architectures=" + arch, "--include=" + packages, "--dpkgopt=force-unsafe-io",
		"--dpkgopt=path-exclude=/usr/share/man/*", "--dpkgopt=path-exclude=/usr/share/doc/*", "--dpkgopt=path-include=/usr/share/doc/*/copyright",
		"--dpkgopt=path-exclude=/usr/share/locale/*", "--skip=output/dev", suite, file}

	cmd := exec.CommandContext(ctx, args[0], args[1:]...)
	if arch != runtime.GOARCH {
		// What the kernel runs is not for mmdebstrap to check, and /sys is not mounted since it
		// belongs to a network, which is the machine's: the mirror must be reached.
		var err error
		if cmd, err = emulated(ctx, arch, append(args, "--mode=root", "--skip=check/qemu,chroot/mount/sys")); err != nil {
			return "", err
		}
	}

	// Not the environment of the user who builds, which packages could read.
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "TMPDIR=" + os.TempDir(), "LC_ALL=C.UTF-8", fmt.Sprintf("SOURCE_DATE_EPOCH=%d", b.time.Unix())}
	_, err := output(cmd)

	return file, err
}
