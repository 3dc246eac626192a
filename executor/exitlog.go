package executor

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"os"
	"sync"
)

// exitLog keeps exits that are not forgotten on disk, so that the death of a
// keeper does not take them along. It is one file of records (length, CRC,
// CBOR), written without sync: what must be survived is the end of the process.
// Forgetting is not written; the file is rewritten when it has grown, so a later
// keeper may tell exits that were forgotten. Receivers bear repetitions anyway.
// append and compact are for one goroutine.
type exitLog struct {
	path string
	// loaded are the exits that were found, the last of each ID.
	loaded []Status

	mu sync.Mutex // guards following
	f  *os.File
	// size and base are the file's now and after it was last rewritten.
	size, base int64
}

const (
	exitLogHeader = 8
	// exitLogSlack is how much may be appended before a rewrite.
	exitLogSlack = 4 << 20
	// exitLogIdle is how much it takes if nothing need be kept.
	exitLogIdle = 64 << 10
	// maxExit bounds a record: Meta and little else.
	maxExit = maxFrame
)

// openExitLog reads what is there. A record cut short or damaged ends the
// reading: it was being written when a keeper died.
func openExitLog(path string) (*exitLog, error) {
	b, err := os.ReadFile(path)
	if err != nil && !os.IsNotExist(err) {
		return nil, fmt.Errorf("open exits: %w", err)
	}
	l := &exitLog{path: path}
	at := make(map[string]int)
	for len(b) >= exitLogHeader {
		n, sum := binary.BigEndian.Uint32(b), binary.BigEndian.Uint32(b[4:])
		if n > maxExit || int(n) > len(b)-exitLogHeader {
			break
		}
		body := b[exitLogHeader : exitLogHeader+int(n)]
		var st Status
		if crc32.ChecksumIEEE(body) != sum || decMode.Unmarshal(body, &st) != nil || st.ID == "" {
			break
		}
		if i, ok := at[st.ID]; ok {
			l.loaded[i] = st
		} else {
			at[st.ID] = len(l.loaded)
			l.loaded = append(l.loaded, st)
		}
		b = b[exitLogHeader+int(n):]
	}
	// Rewritten, so that what follows a damaged record can be read.
	if err := l.compact(l.loaded); err != nil {
		return nil, err
	}
	return l, nil
}

func appendExit(b []byte, st *Status) ([]byte, error) {
	kept := *st
	kept.Added = nil // never on disk
	body, err := encMode.Marshal(&kept)
	if err != nil {
		return b, fmt.Errorf("encode exit of %s: %w", st.ID, err)
	}
	b = binary.BigEndian.AppendUint32(b, uint32(len(body)))
	b = binary.BigEndian.AppendUint32(b, crc32.ChecksumIEEE(body))
	return append(b, body...), nil
}

// append adds exits with one write.
func (l *exitLog) append(exits []Status) error {
	var b []byte
	var err error
	for i := range exits {
		if b, err = appendExit(b, &exits[i]); err != nil {
			return err
		}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	n, err := l.f.Write(b)
	l.size += int64(n)
	if err != nil {
		return fmt.Errorf("write exits: %w", err)
	}
	return nil
}

// wantsCompaction reports whether the file has grown enough; idle says that
// nothing in it need be kept.
func (l *exitLog) wantsCompaction(idle bool) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.size-l.base > exitLogSlack || idle && l.size > exitLogIdle
}

// compact rewrites the file with the exits given alone. It is swapped in by
// renaming.
func (l *exitLog) compact(live []Status) error {
	var b []byte
	var err error
	for i := range live {
		if b, err = appendExit(b, &live[i]); err != nil {
			return err
		}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	temporary := l.path + ".new"
	f, err := os.OpenFile(temporary, os.O_WRONLY|os.O_CREATE|os.O_TRUNC|os.O_APPEND, 0o600)
	if err != nil {
		return fmt.Errorf("rewrite exits: %w", err)
	}
	if _, err = f.Write(b); err == nil {
		err = os.Rename(temporary, l.path)
	}
	if err != nil {
		f.Close()
		return fmt.Errorf("rewrite exits: %w", err)
	}
	if l.f != nil {
		l.f.Close()
	}
	l.f, l.size, l.base = f, int64(len(b)), int64(len(b))
	return nil
}

func (l *exitLog) close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.f.Close()
}
