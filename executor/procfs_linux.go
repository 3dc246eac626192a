package executor

import (
	"bytes"
	"errors"
	"os"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// procInfo is one line of /proc: who a process is and whence it comes. Together
// pid and start name a process uniquely; a pid alone does not.
type procInfo struct {
	pid, ppid, pgrp, sid int
	// start is in clock ticks since boot.
	start uint64
	// zombie is set for processes that are dead and wait to be reaped.
	zombie bool
}

// readProc reads /proc/PID/stat; ok is false if there is no such process.
func readProc(pid int) (p procInfo, ok bool) {
	var buf [1024]byte
	n, err := readSmall("/proc/"+strconv.Itoa(pid)+"/stat", buf[:])
	if err != nil {
		return p, false
	}
	return parseStat(pid, buf[:n])
}

// parseStat reads the text of a stat file. The second field is the name in
// brackets and may hold anything, so counting begins after the last one.
func parseStat(pid int, stat []byte) (p procInfo, ok bool) {
	i := bytes.LastIndexByte(stat, ')')
	if i < 0 {
		return p, false
	}
	fields := strings.Fields(string(stat[i+1:]))
	const state, ppid, pgrp, sid, start = 0, 1, 2, 3, 19
	if len(fields) <= start {
		return p, false
	}
	p.pid = pid
	p.zombie = fields[state] == "Z" || fields[state] == "X"
	var errs [4]error
	p.ppid, errs[0] = strconv.Atoi(fields[ppid])
	p.pgrp, errs[1] = strconv.Atoi(fields[pgrp])
	p.sid, errs[2] = strconv.Atoi(fields[sid])
	p.start, errs[3] = strconv.ParseUint(fields[start], 10, 64)
	return p, errors.Join(errs[:]...) == nil
}

// scanProcs reads all of /proc.
func scanProcs() ([]procInfo, error) {
	d, err := os.Open("/proc")
	if err != nil {
		return nil, err
	}
	defer d.Close()
	names, err := d.Readdirnames(-1)
	if err != nil {
		return nil, err
	}
	procs := make([]procInfo, 0, len(names))
	for _, name := range names {
		if name[0] < '0' || name[0] > '9' {
			continue
		}
		pid, err := strconv.Atoi(name)
		if err != nil {
			continue
		}
		if p, ok := readProc(pid); ok {
			procs = append(procs, p)
		}
	}
	return procs, nil
}

// cookieOf gives what CookieVariable holds in the environment that a process
// was started with; "" if it has none or may not be read.
func cookieOf(pid int) string {
	env, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/environ")
	if err != nil {
		return ""
	}
	for len(env) > 0 {
		kv, rest, _ := bytes.Cut(env, []byte{0})
		if value, ok := bytes.CutPrefix(kv, []byte(CookieVariable+"=")); ok {
			return string(value)
		}
		env = rest
	}
	return ""
}

// hasCookie reports whether a cookie holds this very mark.
func hasCookie(cookie, mark string) bool {
	return slices.Contains(strings.Fields(cookie), mark)
}

// hasCookieOf reports whether a cookie holds a mark of the data dir.
func hasCookieOf(cookie, dataDirMark string) bool {
	return slices.ContainsFunc(strings.Fields(cookie), func(mark string) bool {
		return strings.HasPrefix(mark, dataDirMark+".")
	})
}

// listChildren gives the pids that have this process's first thread for parent:
// where orphans end up. ok is false if the kernel does not list them.
func listChildren(buf []byte) (pids []int, ok bool) {
	self := strconv.Itoa(os.Getpid())
	fd, err := unix.Open("/proc/self/task/"+self+"/children", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, false
	}
	defer unix.Close(fd)
	pid := 0
	for {
		n, err := unix.Read(fd, buf)
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return nil, false
		}
		if n == 0 {
			return pids, true
		}
		for _, c := range buf[:n] {
			if c >= '0' && c <= '9' {
				pid = pid*10 + int(c-'0')
			} else if pid > 0 {
				pids = append(pids, pid)
				pid = 0
			}
		}
	}
}

// sendTo signals the very process that p describes: through a handle that is
// checked after it was taken, never by number alone.
func sendTo(p procInfo, sig unix.Signal) error {
	fd, err := unix.PidfdOpen(p.pid, 0)
	if err == unix.ENOSYS {
		if now, ok := readProc(p.pid); !ok || now.start != p.start {
			return unix.ESRCH
		}
		return unix.Kill(p.pid, sig)
	}
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	if now, ok := readProc(p.pid); !ok || now.start != p.start {
		return unix.ESRCH
	}
	return unix.PidfdSendSignal(fd, sig, nil, 0)
}

// readSmall reads a file of the kernel that fits into buf, with three calls.
func readSmall(path string, buf []byte) (int, error) {
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return 0, err
	}
	defer unix.Close(fd)
	for {
		n, err := unix.Read(fd, buf)
		if err != unix.EINTR {
			return max(n, 0), err
		}
	}
}

// bootID names the life of the machine, without dashes.
func bootID() string {
	b, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return "unknown"
	}
	return strings.ReplaceAll(strings.TrimSpace(string(b)), "-", "")
}
