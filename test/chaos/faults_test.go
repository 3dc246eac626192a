package chaos

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"github.com/pipelined/pipelined/test/harness"
)

// fault is one kind of damage. It returns when it is repaired, but for the time
// that the cluster needs. Its note says what was done.
type fault struct {
	name string
	// weight is how often it is chosen beside the others.
	weight int
	// calm makes it wait until the cluster is whole: beside another fault it could
	// take what only two machines have.
	calm bool
	make func(b *breaker) (note string, err error)
}

// faults are all kinds.
var faults = []fault{
	{name: "kill the leader's daemon", weight: 10, make: func(b *breaker) (string, error) { return b.killDaemon(b.leader()) }},
	{name: "kill a daemon", weight: 10, make: func(b *breaker) (string, error) { return b.killDaemon(b.any()) }},
	{name: "kill a machine", weight: 8, make: (*breaker).killMachine},
	{name: "kill all daemons", weight: 3, make: (*breaker).killAll},
	{name: "restart a daemon", weight: 6, make: (*breaker).restart},
	{name: "pause a daemon", weight: 8, make: func(b *breaker) (string, error) { return b.pause(b.any(), false) }},
	{name: "pause the leader's machine", weight: 6, make: func(b *breaker) (string, error) { return b.pause(b.leader(), true) }},
	{name: "pause a machine", weight: 6, make: func(b *breaker) (string, error) { return b.pause(b.any(), true) }},
	{name: "cut a machine off", weight: 8, make: func(b *breaker) (string, error) { return b.cutOff(b.any()) }},
	{name: "cut the leader off", weight: 6, make: func(b *breaker) (string, error) { return b.cutOff(b.leader()) }},
	{name: "separate two machines", weight: 6, make: (*breaker).separate},
	{name: "fill a disk", weight: 5, make: (*breaker).fill},
	{name: "flip a byte", weight: 6, calm: true, make: (*breaker).flip},
	{name: "shift a clock", weight: 3, make: (*breaker).shift},
}

// breaker makes faults, one at a time.
type breaker struct {
	c   *cluster
	rng *rand.Rand
}

// choose chooses a kind.
func (b *breaker) choose() fault {
	total := 0
	for _, f := range faults {
		total += f.weight
	}
	n := b.rng.IntN(total)
	for _, f := range faults {
		if n -= f.weight; n < 0 {
			return f
		}
	}
	return faults[0]
}

func (b *breaker) any() *machine { return b.c.machines[b.rng.IntN(len(b.c.machines))] }

// leader is the machine that leads, or any if none does.
func (b *breaker) leader() *machine {
	m := b.any()
	if l := b.c.leader(); l != nil {
		return l
	}
	return m
}

// wait lets some time pass, evenly distributed.
func (b *breaker) wait(from, to time.Duration) time.Duration {
	d := from + time.Duration(b.rng.Int64N(int64(to-from)+1))
	<-time.After(d)
	return d.Round(time.Millisecond)
}

func (b *breaker) killDaemon(m *machine) (string, error) {
	m.Kill()
	d := b.wait(0, 4*time.Second)
	m.Start()
	return fmt.Sprintf("%s for %v", m.Name, d), nil
}

func (b *breaker) killMachine() (string, error) {
	m := b.any()
	m.KillAll()
	d := b.wait(0, 12*time.Second)
	m.Start()
	return fmt.Sprintf("%s for %v", m.Name, d), nil
}

func (b *breaker) killAll() (string, error) {
	for _, m := range b.c.machines {
		m.Kill()
	}
	d := b.wait(0, 2*time.Second)
	for _, m := range b.c.machines {
		m.Start()
	}
	return fmt.Sprintf("for %v", d), nil
}

func (b *breaker) restart() (string, error) {
	m := b.any()
	m.Term()
	d := b.wait(0, time.Second)
	m.Start()
	return fmt.Sprintf("%s for %v", m.Name, d), nil
}

// pause stops a daemon, or it with its keeper and its modules.
func (b *breaker) pause(m *machine, all bool) (string, error) {
	var pids []int
	if m.Running() {
		pids = append(pids, m.PID())
	}
	if all {
		for _, k := range m.Keepers() {
			pids = append(append(pids, k), harness.Descendants(k)...)
		}
	}
	for _, pid := range pids {
		_ = syscall.Kill(pid, syscall.SIGSTOP) // it may have ended
	}
	d := b.wait(300*time.Millisecond, 9*time.Second)
	for _, pid := range pids {
		_ = syscall.Kill(pid, syscall.SIGCONT)
	}
	return fmt.Sprintf("%s for %v", m.Name, d), nil
}

func (b *breaker) cutOff(m *machine) (string, error) {
	b.c.link(m, false)
	d := b.wait(500*time.Millisecond, 12*time.Second)
	b.c.link(m, true)
	return fmt.Sprintf("%s for %v", m.Name, d), nil
}

func (b *breaker) separate() (string, error) {
	order := b.rng.Perm(len(b.c.machines))
	x, y := b.c.machines[order[0]], b.c.machines[order[1]]
	b.c.apart(x, y, true)
	d := b.wait(time.Second, 10*time.Second)
	b.c.apart(x, y, false)
	return fmt.Sprintf("%s and %s for %v", x.Name, y.Name, d), nil
}

// fill leaves no byte on a machine's disk for a while.
func (b *breaker) fill() (string, error) {
	m := b.any()
	path := filepath.Join(m.Data, "fill")
	f, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return "", err
	}
	defer f.Close()
	piece := make([]byte, 1<<20)
	for err == nil {
		_, err = f.Write(piece)
	}
	d := b.wait(time.Second, 6*time.Second)
	return fmt.Sprintf("%s for %v", m.Name, d), os.Remove(path)
}

// flip changes one bit of one file of a machine that does not run.
func (b *breaker) flip() (string, error) {
	m := b.any()
	m.Kill()
	var store string
	var files []string
	stores := []string{"raft/log.db", "journal.db", "blobs/*/*", "raft/snapshots/*/state.bin"}
	for _, i := range b.rng.Perm(len(stores)) {
		store = stores[i]
		if files, _ = filepath.Glob(filepath.Join(m.Data, store)); len(files) > 0 { // the patterns are right
			break
		}
	}
	path := files[b.rng.IntN(len(files))]
	at, err := flipIn(path, b.rng)
	m.Start()
	return fmt.Sprintf("%s of %s at %d", m.Name, store, at), err
}

func flipIn(path string, rng *rand.Rand) (int64, error) {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil || info.Size() == 0 || info.IsDir() {
		return 0, err
	}
	at := rng.Int64N(info.Size())
	one := make([]byte, 1)
	if _, err := f.ReadAt(one, at); err != nil {
		return at, err
	}
	one[0] ^= 1 << rng.IntN(8)
	_, err = f.WriteAt(one, at)
	return at, err
}

// shift gives a daemon another time for a while, until it starts again.
func (b *breaker) shift() (string, error) {
	m := b.any()
	if !m.Running() {
		return m.Name + " does not run", nil
	}
	by := time.Duration(b.rng.Int64N(int64(50*time.Hour))) - 25*time.Hour
	if err := harness.ShiftClock(m.PID(), by); err != nil {
		return err.Error(), nil
	}
	d := b.wait(time.Second, 8*time.Second)
	m.Kill()
	m.Start()
	return fmt.Sprintf("%s by %v for %v", m.Name, by.Round(time.Minute), d), nil
}
