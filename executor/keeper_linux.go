package executor

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"strconv"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"
	"golang.org/x/sys/unix"
)

// keeper serves one data dir. The daemon that said hello last is the one it
// serves.
type keeper struct {
	cfg Config
	log hclog.Logger
	e   *engine
	// ln and socket, its file, belong to run.
	ln     *net.UnixListener
	socket socketFile
	// lock is held until all has ended: a successor must not begin before.
	lock  *os.File
	conns sync.WaitGroup
	// changed has a token when it may be time to end.
	changed chan struct{}

	mu sync.Mutex // guards following
	// current is the daemon's connection; nil while there is none.
	current *keeperConn
	all     map[*keeperConn]struct{}
	// leaving: TERM came; end when nothing runs, unless a daemon comes first.
	leaving bool
	// idleSince is when the last daemon went.
	idleSince time.Time
	closed    bool
}

// KeeperMain is the body of the hidden command: it holds the attempts of one
// data dir, for one daemon after another, until ten minutes have passed with
// neither a daemon nor an attempt, or ctx ends. args are those that Connect
// gives.
//
// HUP, INT, QUIT and PIPE are nothing to it: it belongs to no terminal. TERM
// ends it when nothing runs, at once or as soon as the last attempt has ended,
// unless a daemon has connected meanwhile: at shutdown the machine ends its
// modules as well, and a signal that went to all processes of a name must not
// lose what runs.
func KeeperMain(ctx context.Context, args []string) error {
	var cfg Config
	fs := flag.NewFlagSet(KeeperCommand, flag.ContinueOnError)
	fs.SetOutput(io.Discard)
	fs.StringVar(&cfg.DataDir, "data-dir", "", "")
	fs.DurationVar(&cfg.IdleExit, "idle-exit", 0, "")
	fs.DurationVar(&cfg.LeftoverWait, "leftover-wait", 0, "")
	fs.DurationVar(&cfg.DrainWait, "drain-wait", 0, "")
	fs.BoolVar(&cfg.NoCgroups, "no-cgroups", false, "")
	fs.BoolVar(&cfg.AllowNewPrivileges, "allow-new-privileges", false, "")
	readyFD := fs.Int("ready-fd", -1, "")
	level := fs.String("log-level", "info", "")
	if err := fs.Parse(args); err != nil {
		return fmt.Errorf("keeper: %w", err)
	}
	if cfg.DataDir == "" {
		return errors.New("keeper: -data-dir is missing")
	}
	cfg.Logger = hclog.New(&hclog.LoggerOptions{Name: "keeper", Level: hclog.LevelFromString(*level), Output: os.Stderr})
	ready := readyPipe(*readyFD)
	k, err := openKeeper(cfg.withDefaults())
	if errors.Is(err, errHeld) {
		ready("held")
		return nil
	}
	if err != nil {
		ready("error " + err.Error())
		return err
	}
	ready("ready " + k.e.identity.incarnation)
	return k.run(ctx)
}

// keeperArgs are the arguments for a keeper of cfg.
func keeperArgs(cfg *Config) []string {
	args := []string{KeeperCommand, "-data-dir", cfg.DataDir, "-ready-fd", "3", "-idle-exit", cfg.IdleExit.String(),
		"-leftover-wait", cfg.LeftoverWait.String(), "-drain-wait", cfg.DrainWait.String(), "-log-level", "info"}
	if cfg.NoCgroups {
		args = append(args, "-no-cgroups")
	}
	if cfg.AllowNewPrivileges {
		args = append(args, "-allow-new-privileges")
	}
	return args
}

// readyPipe gives a function that reports to the starter how it went, once. All
// other handles that this process was given are closed: they are a daemon's
// starter's, and would live as long as the keeper.
func readyPipe(fd int) func(string) {
	dir, err := os.ReadDir("/proc/self/fd")
	if err == nil {
		for _, entry := range dir {
			n, err := strconv.Atoi(entry.Name())
			if err != nil || n <= 2 || n == fd {
				continue
			}
			// What this process has opened itself is close-on-exec.
			if flags, err := unix.FcntlInt(uintptr(n), unix.F_GETFD, 0); err == nil && flags&unix.FD_CLOEXEC == 0 {
				unix.Close(n)
			}
		}
	}
	if fd <= 2 {
		return func(string) {}
	}
	unix.CloseOnExec(fd)
	return func(text string) {
		f := os.NewFile(uintptr(fd), "ready")
		_, _ = f.WriteString(text) // a starter that is gone does not care
		f.Close()
	}
}

// errHeld says that another keeper has the data dir.
var errHeld = errors.New("another keeper holds this data dir")

// openKeeper takes the lock, sweeps, and listens.
func openKeeper(cfg Config) (k *keeper, err error) {
	if err := os.MkdirAll(cfg.DataDir, 0o700); err != nil {
		return nil, fmt.Errorf("open keeper: %w", err)
	}
	lock, err := os.OpenFile(filepath.Join(cfg.DataDir, lockName), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open keeper: %w", err)
	}
	if err := unix.Flock(int(lock.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		lock.Close()
		if err == unix.EWOULDBLOCK {
			return nil, errHeld
		}
		return nil, fmt.Errorf("lock %s: %w", lock.Name(), err)
	}
	defer func() {
		if err != nil {
			lock.Close()
		}
	}()
	_ = lock.Truncate(0)
	_, _ = lock.WriteAt([]byte(strconv.Itoa(os.Getpid())+"\n"), 0) // for the user
	_ = os.Chdir("/")                                              // holds no mount busy
	k = &keeper{cfg: cfg, log: cfg.Logger, lock: lock, changed: make(chan struct{}, 1), all: make(map[*keeperConn]struct{}), idleSince: time.Now()}
	exits, err := openExitLog(filepath.Join(cfg.DataDir, exitsName))
	if err != nil {
		return nil, fmt.Errorf("open keeper: %w", err)
	}
	if k.e, err = openEngine(cfg, engineOptions{alone: true, exits: exits, publish: k.publish, atIdle: k.poke}); err != nil {
		return nil, err
	}
	if err = k.listen(); err != nil {
		return nil, errors.Join(err, k.e.close(context.Background()))
	}
	return k, nil
}

// run serves until it is time to end.
func (k *keeper) run(ctx context.Context) error {
	k.log.Info("keeper is ready", "pid", os.Getpid(), "data_dir", k.cfg.DataDir, "incarnation", k.e.identity.incarnation)
	signals := make(chan os.Signal, 8)
	// Caught, not ignored: what is ignored stays so in modules.
	signal.Notify(signals, unix.SIGTERM, unix.SIGINT, unix.SIGHUP, unix.SIGQUIT, unix.SIGPIPE)
	defer signal.Stop(signals)
	k.serve() // no daemon connects before signals are caught
	timer := time.NewTimer(min(k.cfg.IdleExit, guardEvery))
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return k.close()
		case s := <-signals:
			if s != unix.SIGTERM {
				continue
			}
			k.log.Info("TERM: ending when nothing runs", "running", k.e.count())
			k.mu.Lock()
			k.leaving = true
			k.mu.Unlock()
		case <-k.changed:
		case <-timer.C:
		}
		end, in := k.timeToEnd(time.Now())
		if !end && k.alone() {
			end, in = k.guard() && k.e.count() == 0, min(in, guardEvery)
		}
		if end {
			return k.close()
		}
		timer.Reset(in)
	}
}

// timeToEnd reports whether the keeper is of no more use, else when to ask
// again.
func (k *keeper) timeToEnd(now time.Time) (end bool, in time.Duration) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.e.count() > 0 {
		return false, k.cfg.IdleExit // atIdle asks earlier
	}
	if k.leaving {
		return true, 0
	}
	if k.current != nil {
		return false, k.cfg.IdleExit
	}
	left := k.cfg.IdleExit - now.Sub(k.idleSince)
	return left <= 0, max(left, time.Millisecond)
}

// poke has run look whether it is time to end.
func (k *keeper) poke() {
	k.mu.Lock()
	if k.current == nil {
		k.idleSince = time.Now()
	}
	k.mu.Unlock()
	select {
	case k.changed <- struct{}{}:
	default:
	}
}

// close ends in order: no new connection, nothing left running, nothing on disk that
// would make a successor sweep.
func (k *keeper) close() error {
	k.log.Info("keeper ends", "running", k.e.count())
	k.mu.Lock()
	k.closed = true
	conns := make([]*keeperConn, 0, len(k.all))
	for c := range k.all {
		conns = append(conns, c)
	}
	k.mu.Unlock()
	_ = os.Remove(filepath.Join(k.cfg.DataDir, socketName))
	k.ln.Close()
	for _, c := range conns {
		c.conn.Close()
	}
	k.conns.Wait()
	ctx, cancel := context.WithTimeout(context.Background(), closeWait)
	defer cancel()
	return errors.Join(k.e.close(ctx), k.e.publisher.exits.close(), k.lock.Close())
}

// accept takes connections until the listener is closed.
func (k *keeper) accept(l *net.UnixListener) {
	pause := growingPause(time.Millisecond, time.Second)
	for {
		conn, err := l.AcceptUnix()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil { // out of handles, most likely
			k.log.Error("accept connection failed", "error", err)
			time.Sleep(pause.NextBackOff())
			continue
		}
		pause.Reset()
		c := &keeperConn{k: k, conn: conn}
		k.mu.Lock()
		if k.closed {
			k.mu.Unlock()
			conn.Close()
			return
		}
		k.all[c] = struct{}{}
		k.mu.Unlock()
		k.conns.Go(func() {
			if err := c.serve(); !errors.Is(err, io.EOF) && !errors.Is(err, net.ErrClosed) {
				k.log.Warn("daemon connection ended", "error", err)
			}
			k.drop(c)
		})
	}
}

// take makes c the daemon's connection; the former one is notified and closed.
func (k *keeper) take(c *keeperConn) {
	k.mu.Lock()
	former := k.current
	k.current, k.leaving = c, false
	k.mu.Unlock()
	if former != nil {
		_ = former.send(&message{Kind: kindReplaced}) // it may be gone
		former.conn.Close()
	}
}

func (k *keeper) drop(c *keeperConn) {
	c.close()
	k.mu.Lock()
	delete(k.all, c)
	if k.current == c {
		k.current = nil
		k.idleSince = time.Now()
	}
	k.mu.Unlock()
	k.poke()
}

// publish sends exits to the daemon. What does not arrive comes again when the
// next one says hello.
func (k *keeper) publish(batch []Status) {
	k.mu.Lock()
	c := k.current
	k.mu.Unlock()
	if c == nil {
		return
	}
	err := cutStatuses(batch, func(part []Status, _ bool) error {
		return c.send(&message{Kind: kindExits, Statuses: part})
	})
	if err != nil {
		k.log.Warn("send exits to the daemon", "error", err)
		c.conn.Close()
	}
}
