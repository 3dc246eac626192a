package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"syscall"
)

// emulator runs programs for arm64 on amd64.
const emulator = "qemu-aarch64-static"

// registration makes the kernel run the programs of arm64 with the emulator, which it opens
// at once (F), so that roots of another Debian need no copy of it.
const registration = `:arm64:M::\x7fELF\x02\x01\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x02\x00\xb7\x00` +
	`:\xff\xff\xff\xff\xff\xff\xff\x00\xff\xff\xff\xff\xff\xff\xff\xff\xfe\xff\xff\xff:%s:F`

// emulated makes a command that can run programs of another processor: in a user namespace,
// which has registrations of its own, so that the machine keeps its own.
func emulated(ctx context.Context, arch string, args []string) (*exec.Cmd, error) {
	if arch != "arm64" || runtime.GOARCH != "amd64" {
		return nil, fmt.Errorf("cannot run programs for %s on %s", arch, runtime.GOARCH)
	}

	if os.Geteuid() != 0 {
		return nil, fmt.Errorf("to run programs for %s needs root", arch)
	}

	qemu, err := exec.LookPath(emulator)
	if err != nil {
		return nil, fmt.Errorf("%w: install the package qemu-user-static", err)
	}

	// The PID namespace is for /proc, which mounts of a user namespace need, and ends all that
	// the command leaves.
	const script = `mount -t proc proc /proc
mount -t binfmt_misc binfmt_misc /proc/sys/fs/binfmt_misc || { echo "the kernel has no formats for each user namespace (Linux 6.7)" >&2; exit 1; }
printf %s "$0" >/proc/sys/fs/binfmt_misc/register
exec "$@"`
	cmd := exec.CommandContext(ctx, "sh", append([]string{"-ec", script, fmt.Sprintf(registration, qemu)}, args...)...)
	all := []syscall.SysProcIDMap{{Size: 1 << 16}}
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWUSER | syscall.CLONE_NEWNS | syscall.CLONE_NEWPID,
		UidMappings: all, GidMappings: all, GidMappingsEnableSetgroups: true, Pdeathsig: syscall.SIGKILL}

	return cmd, nil
}
