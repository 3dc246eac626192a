package workspace

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// pruneStats removes what is remembered of workspaces that are gone, and of
// those that were used longest ago where it is too much. keep stays.
func pruneStats(dir, keep string) {
	names, err := os.ReadDir(dir)
	if err != nil {
		return
	}
	var infos []fs.FileInfo
	for _, n := range names {
		info, err := n.Info()
		if err != nil || !info.Mode().IsRegular() || n.Name() == keep {
			continue
		}
		// A file under way has a point before its name; an old one was left by a
		// process that died.
		temporary := strings.HasPrefix(n.Name(), ".")
		switch {
		case temporary && time.Since(info.ModTime()) > time.Hour, !temporary && rootGone(filepath.Join(dir, n.Name())):
			os.Remove(filepath.Join(dir, n.Name()))
		case !temporary:
			infos = append(infos, info)
		}
	}
	slices.SortFunc(infos, func(a, b fs.FileInfo) int { return b.ModTime().Compare(a.ModTime()) })
	var total int64
	for i, info := range infos {
		if total += info.Size(); i >= maxStatFiles-1 || total > maxStatBytes {
			os.Remove(filepath.Join(dir, info.Name()))
		}
	}
}

// rootGone reports whether a file is of a workspace that is not there any more,
// or none of ours.
func rootGone(path string) bool {
	f, err := os.Open(path)
	if err != nil {
		return false
	}
	defer f.Close()
	head := make([]byte, len(statMagic)+24+4096)
	n, _ := f.ReadAt(head, 0)
	head = head[:n]
	rest, ok := bytes.CutPrefix(head, []byte(statMagic))
	if !ok || len(rest) < 24 {
		return true
	}
	length := binary.LittleEndian.Uint64(rest)
	if length > uint64(len(rest)-24) {
		return length > 4096
	}
	_, err = os.Lstat(string(rest[24 : 24+length]))
	return errors.Is(err, fs.ErrNotExist)
}
