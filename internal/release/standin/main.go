// Command standin takes the place of systemctl in a root without systemd, for the test of the
// packages: it starts and stops the service "pipelined" as its unit says. Of KillMode it knows
// "process", by which only the main process is signalled; else it kills every process of
// the service's user, as systemd does with those of the control group.
package main

import (
	"bufio"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

const (
	unitFile = "/lib/systemd/system/pipelined.service"
	pidFile  = "/run/pipelined.pid"
	enabled  = "/etc/systemd/system/multi-user.target.wants/pipelined.service"
	socket   = "/run/notify"
	limit    = time.Minute
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "standin:", err)
		os.Exit(1)
	}
}

// run executes one command line of systemctl.
func run(args []string) error {
	now := slices.Contains(args, "--now")
	args = slices.DeleteFunc(args, func(a string) bool { return strings.HasPrefix(a, "--") })
	fmt.Println("systemctl", strings.Join(args, " "))

	switch args[0] {
	case "daemon-reload":
		return nil
	case "enable":
		if err := errors.Join(os.MkdirAll(filepath.Dir(enabled), 0o755), os.Symlink(unitFile, enabled)); err != nil || !now {
			return err
		}

		return start()
	case "disable":
		if err := os.Remove(enabled); err != nil && !errors.Is(err, os.ErrNotExist) || !now {
			return err
		}

		return stop()
	case "try-restart":
		if mainProcess() == 0 {
			return nil
		}

		return errors.Join(stop(), start())
	}

	return fmt.Errorf("%q is not known here", args)
}

// unit reads the settings of the unit, without regard to its sections.
func unit() (map[string]string, error) {
	text, err := os.ReadFile(unitFile)
	if err != nil {
		return nil, err
	}

	settings := map[string]string{}
	for line := range strings.Lines(string(text)) {
		if key, value, ok := strings.Cut(strings.TrimSpace(line), "="); ok && !strings.HasPrefix(key, "#") {
			settings[key] = value
		}
	}

	return settings, nil
}

// start starts the service and waits until it says that it is ready.
func start() error {
	u, err := unit()
	if err != nil {
		return err
	}

	who, err := user.Lookup(u["User"])
	if err != nil {
		return err
	}

	uid, _ := strconv.Atoi(who.Uid) // a number, on Linux
	gid, _ := strconv.Atoi(who.Gid)
	state := filepath.Join("/var/lib", u["StateDirectory"])
	if err := errors.Join(os.MkdirAll(state, 0o700), os.Chown(state, uid, gid)); err != nil {
		return err
	}

	before := exec.Command("/bin/sh", "-c", strings.ReplaceAll(strings.TrimPrefix(u["ExecStartPre"], "+"), "$$", "$"))
	if out, err := before.CombinedOutput(); err != nil {
		return fmt.Errorf("ExecStartPre: %w: %s", err, out)
	}

	_ = os.Remove(socket) // of the last start
	ready, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: socket, Net: "unixgram"})
	if err != nil {
		return err
	}

	defer ready.Close()

	log, err := os.OpenFile("/var/log/pipelined", os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err := errors.Join(err, os.Chmod(socket, 0o666), ready.SetDeadline(time.Now().Add(limit))); err != nil {
		return err
	}

	args := strings.Fields(u["ExecStart"])
	cmd := exec.Command(args[0], args[1:]...)
	cmd.Env = []string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin", "HOME=" + who.HomeDir, "USER=" + who.Username, "NOTIFY_SOCKET=" + socket}
	cmd.Stdout, cmd.Stderr, cmd.Dir = log, log, "/"
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Credential: &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}}
	if err := cmd.Start(); err != nil {
		return err
	}

	if err := os.WriteFile(pidFile, []byte(strconv.Itoa(cmd.Process.Pid)), 0o644); err != nil {
		return err
	}

	for buf := make([]byte, 4096); ; {
		n, err := ready.Read(buf)
		if err != nil {
			return fmt.Errorf("the service is not ready: %w", err)
		}

		if slices.Contains(strings.Fields(string(buf[:n])), "READY=1") {
			return nil
		}
	}
}

// stop signals the main process and waits until it has ended.
func stop() error {
	pid := mainProcess()
	if pid == 0 {
		return nil
	}

	u, err := unit()
	if err != nil {
		return err
	}

	if err := syscall.Kill(pid, syscall.SIGTERM); err != nil {
		return err
	}

	if u["KillMode"] != "process" {
		if err := killAll(u["User"]); err != nil {
			return err
		}
	}

	for end := time.Now().Add(limit); running(pid); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			return fmt.Errorf("process %d has not ended", pid)
		}
	}

	return os.Remove(pidFile)
}

// killAll kills every process of a user.
func killAll(name string) error {
	who, err := user.Lookup(name)
	if err != nil {
		return err
	}

	dirs, err := filepath.Glob("/proc/[0-9]*")
	for _, dir := range dirs {
		info, err := os.Stat(dir)
		if err == nil && strconv.Itoa(int(info.Sys().(*syscall.Stat_t).Uid)) == who.Uid {
			pid, _ := strconv.Atoi(filepath.Base(dir)) // as the pattern says
			_ = syscall.Kill(pid, syscall.SIGKILL)     // or it has ended
		}
	}

	return err
}

// mainProcess is the process of the service; 0 if there is none.
func mainProcess() int {
	text, err := os.ReadFile(pidFile)
	if err != nil {
		return 0
	}

	pid, err := strconv.Atoi(string(text))
	if err != nil || !running(pid) {
		return 0
	}

	return pid
}

// running reports whether a process has not ended; one that only waits for its parent has.
func running(pid int) bool {
	f, err := os.Open(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return false
	}

	defer f.Close()

	for s := bufio.NewScanner(f); s.Scan(); {
		if state, ok := strings.CutPrefix(s.Text(), "State:"); ok {
			return !strings.HasPrefix(strings.TrimSpace(state), "Z")
		}
	}

	return false
}
