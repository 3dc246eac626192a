package executor

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// child is a process that was just started.
type child struct {
	pid int
	// pidfd is -1 if the kernel has none.
	pidfd int
	// out is the end of the pipe to read from; it does not block.
	out int
	// at is when it was forked: the clock is read before, since on a busy
	// machine this process may not run for long after.
	at time.Time
}

// startError is why nothing was started, in words for the user.
type startError struct {
	message string
	// code is what shells exit with: 127 for what is not there, else 126.
	code int
	// machine says that the machine is the cause, and not what was to be started.
	machine bool
	// ran says that something of it may have run.
	ran bool
}

func (e *startError) Error() string { return e.message }

// spawn starts a process in a session of its own, with standard output and
// error on one pipe. s may be nil.
func (k *children) spawn(p *Process, cookie string, s *slot) (child, error) {
	path, err := lookPath(p)
	if err != nil {
		return child{}, err
	}
	var pipe [2]int
	if err := unix.Pipe2(pipe[:], unix.O_CLOEXEC); err != nil {
		return child{}, &startError{message: fmt.Sprintf("make a pipe for the output: %v", err), code: 126, machine: true}
	}
	defer unix.Close(pipe[1])
	c := child{pidfd: -1}
	sys := syscall.SysProcAttr{Setsid: true, PidFD: &c.pidfd}
	if s != nil && s.tasks < 0 {
		sys.UseCgroupFD, sys.CgroupFD = true, s.dir
	}
	env := make([]string, 0, len(p.Env)+1)
	env = append(env, cookie) // first, so that a look for it is short
	for _, kv := range p.Env {
		if !strings.HasPrefix(kv, CookieVariable+"=") {
			env = append(env, kv)
		}
	}
	attr := syscall.ProcAttr{Dir: p.WorkDir, Env: env, Sys: &sys,
		Files: []uintptr{uintptr(k.null), uintptr(pipe[1]), uintptr(pipe[1])}}
	c.at = time.Now()
	c.pid, err = k.forkWithin(s, func() (int, error) { return k.fork(path, p.Argv, &attr) })
	if err != nil {
		unix.Close(pipe[0])
		return child{}, err
	}
	// Only our end: the module's must block.
	if err := unix.SetNonblock(pipe[0], true); err != nil {
		k.log.Error("set pipe to non-blocking", "attempt", p.ID, "error", err)
	}
	c.out = pipe[0]
	return c, nil
}

// fork starts the program. A file that some process, forked meanwhile, still
// holds open for writing cannot be executed for a moment (ETXTBSY): a script
// that was written just now, most of all.
func (k *children) fork(path string, argv []string, attr *syscall.ProcAttr) (pid int, err error) {
	for wait := time.Millisecond; ; wait *= 2 {
		pid, err = k.forkOnce(path, argv, attr)
		if err != syscall.ETXTBSY || wait > 200*time.Millisecond {
			return pid, err
		}
		time.Sleep(wait)
	}
}

func (k *children) forkOnce(path string, argv []string, attr *syscall.ProcAttr) (int, error) {
	if !k.newPrivileges {
		// The attribute is a thread's and goes to its children; the thread
		// keeps it, and so do in time all that fork.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		_ = unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) // older than every kernel that runs Go
	}
	// A look for orphans among our children must not meet this one before it is
	// known.
	k.forking.Add(1)
	defer k.forking.Add(-1)
	pid, err := syscall.ForkExec(path, argv, attr)
	if err == nil {
		k.addMain(pid)
	}
	return pid, err
}

// lookPath finds the program as execvp would, in the module's own PATH.
func lookPath(p *Process) (string, error) {
	name := p.Argv[0]
	if strings.Contains(name, "/") {
		return name, nil // relative to WorkDir: the child is there when it looks
	}
	path := ""
	for _, kv := range p.Env {
		if value, ok := strings.CutPrefix(kv, "PATH="); ok {
			path = value
		}
	}
	denied := ""
	for dir := range strings.SplitSeq(path, ":") {
		if dir == "" {
			continue // an empty entry would mean the module's directory: never
		}
		file := dir + "/" + name
		if !filepath.IsAbs(dir) {
			file = filepath.Join(p.WorkDir, file)
		}
		var st unix.Stat_t
		if unix.Stat(file, &st) != nil || st.Mode&unix.S_IFMT != unix.S_IFREG {
			continue
		}
		if unix.Faccessat(unix.AT_FDCWD, file, unix.X_OK, unix.AT_EACCESS) == nil {
			return file, nil
		}
		denied = file
	}
	if denied != "" {
		return "", &startError{message: fmt.Sprintf("command %q: %s is not executable", name, denied), code: 126}
	}
	if advice := oneText(p); advice != "" {
		return "", &startError{message: fmt.Sprintf("command %q: no program has this name%s", name, advice), code: 127}
	}
	return "", &startError{message: fmt.Sprintf("command %q: not found in PATH (%s)", name, path), code: 127}
}

// oneText is advice if a whole command line was given as the name of a program. It
// does not repeat the words: a value that is masked as a whole may be among them.
func oneText(p *Process) string {
	if len(p.Argv) != 1 || len(strings.Fields(p.Argv[0])) < 2 {
		return ""
	}
	return `: there is no shell: write script = "…" for one, or write each argument as an element of its own, as in command = ["go", "build", "./..."]`
}

// explain turns the error of a fork into words: the kernel's own is the same
// for a missing directory, a missing program and a missing interpreter.
func explain(p *Process, err error) *startError {
	var known *startError
	if errors.As(err, &known) {
		return known
	}
	name := p.Argv[0]
	if st, statErr := os.Stat(p.WorkDir); statErr != nil {
		if errors.Is(statErr, fs.ErrNotExist) {
			return &startError{message: fmt.Sprintf("working directory %s does not exist", p.WorkDir), code: 126}
		}
		return &startError{message: fmt.Sprintf("working directory %s: %v", p.WorkDir, errors.Unwrap(statErr)), code: 126, machine: IsMachineFault(statErr)}
	} else if !st.IsDir() {
		return &startError{message: fmt.Sprintf("working directory %s is not a directory", p.WorkDir), code: 126}
	}
	file, lookErr := lookPath(p)
	if lookErr != nil {
		file = name // it was there a moment ago
	} else if !filepath.IsAbs(file) {
		file = filepath.Join(p.WorkDir, file)
	}
	switch err {
	case syscall.ENOENT:
		first := shebang(file)
		if strings.HasSuffix(first, "\r") {
			return &startError{message: fmt.Sprintf("command %q: its first line ends with a carriage return (CRLF), which would be part of the interpreter's name: save it with LF line ends", name), code: 127}
		}
		if first != "" {
			return &startError{message: fmt.Sprintf("command %q: its interpreter %q does not exist", name, first), code: 127}
		}
		if _, statErr := os.Stat(file); statErr == nil {
			return &startError{message: fmt.Sprintf("command %q: its loader or interpreter does not exist on this machine", name), code: 127}
		}
		return &startError{message: fmt.Sprintf("command %q: no such file%s", name, oneText(p)), code: 127}
	case syscall.EACCES:
		if st, statErr := os.Stat(file); statErr == nil && st.IsDir() {
			return &startError{message: fmt.Sprintf("command %q is a directory", name), code: 126}
		}
		return &startError{message: fmt.Sprintf("command %q: not executable: give it execute permission (chmod +x)", name), code: 126}
	case syscall.ENOEXEC:
		return &startError{message: fmt.Sprintf("command %q: neither a program for this machine nor a script that begins with #!", name), code: 126}
	case syscall.E2BIG:
		n := 0
		for _, s := range p.Argv {
			n += len(s) + 1
		}
		for _, s := range p.Env {
			n += len(s) + 1
		}
		return &startError{message: fmt.Sprintf("command %q: arguments and environment are too long for the system (%d bytes): pass them in a file", name, n), code: 126}
	}
	if strings.Contains(strings.Join(p.Argv, ""), "\x00") || strings.Contains(strings.Join(p.Env, ""), "\x00") {
		return &startError{message: fmt.Sprintf("command %q: a zero byte in its arguments or environment", name), code: 126}
	}
	return &startError{message: fmt.Sprintf("command %q: execute %s: %v", name, file, err), code: 126, machine: IsMachineFault(err)}
}

// shebang gives the interpreter that a script names; "" for anything else.
func shebang(file string) string {
	f, err := os.Open(file)
	if err != nil {
		return ""
	}
	defer f.Close()
	var buf [256]byte
	n, _ := f.Read(buf[:])
	line, ok := strings.CutPrefix(string(buf[:n]), "#!")
	if !ok {
		return ""
	}
	line, _, _ = strings.Cut(line, "\n")
	first, _, _ := strings.Cut(strings.TrimLeft(line, " \t"), " ")
	first, _, _ = strings.Cut(first, "\t")
	return first
}
