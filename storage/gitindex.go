package storage

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// A file that git tracks is never ignored, whatever a .gitignore says. To know
// which those are, the names are read from git's index (gitformat-index(5),
// versions 2 to 4); git itself need not be installed.

// maxGitIndex bounds what is read of an index: enough for a million files.
const maxGitIndex = 512 << 20

// readTracked gives the paths that the index of a git folder lists, and every
// folder above them. nil where there is no index.
func readTracked(gitDir string) (map[string]struct{}, error) {
	f, err := os.Open(filepath.Join(gitDir, "index"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxGitIndex+1))
	if err != nil {
		return nil, err
	}
	if len(data) > maxGitIndex {
		return nil, fmt.Errorf("git index %s is too large", f.Name())
	}
	tracked := map[string]struct{}{}
	extensions, err := parseIndex(data, tracked)
	if err != nil {
		return nil, fmt.Errorf("git index %s: %w", f.Name(), err)
	}
	if shared := sharedIndex(extensions); shared != "" {
		base, err := os.ReadFile(filepath.Join(gitDir, "sharedindex."+shared))
		if err == nil {
			_, err = parseIndex(base, tracked)
		}
		if err != nil {
			return nil, fmt.Errorf("git index %s: %w", f.Name(), err)
		}
	}
	return tracked, nil
}

var errIndex = errors.New("its format is not known")

// parseIndex adds the entries' paths to a set and gives what stands behind
// them. Only SHA-1 repositories: in others entries have another length, which
// shows in a name that does not end.
func parseIndex(data []byte, into map[string]struct{}) (extensions []byte, err error) {
	if len(data) < 12+20 || string(data[:4]) != "DIRC" {
		return nil, errIndex
	}
	version, n := binary.BigEndian.Uint32(data[4:]), binary.BigEndian.Uint32(data[8:])
	if version < 2 || version > 4 {
		return nil, errIndex
	}
	rest, last := data[12:len(data)-20], ""
	for range n {
		const fixed = 62 // times, mode, ids, size, digest, flags
		if len(rest) < fixed {
			return nil, errIndex
		}
		head := fixed
		if flags := binary.BigEndian.Uint16(rest[60:]); flags&0x4000 != 0 {
			if version < 3 {
				return nil, errIndex
			}
			head += 2
		}
		if len(rest) < head {
			return nil, errIndex
		}
		name, used, err := indexName(rest[head:], version, head, last)
		if err != nil {
			return nil, err
		}
		rest, last = rest[head+used:], name
		addTracked(into, strings.TrimSuffix(name, "/"))
	}
	return rest, nil
}

// indexName reads the name of an entry whose other fields took head bytes, and
// tells how many bytes it took with its padding.
func indexName(p []byte, version uint32, head int, last string) (name string, used int, err error) {
	prefix := ""
	if version == 4 {
		strip, n := 0, 0
		for {
			if n >= len(p) || n > 4 {
				return "", 0, errIndex
			}
			c := p[n]
			n++
			strip |= int(c & 0x7f)
			if c&0x80 == 0 {
				break
			}
			strip = (strip + 1) << 7
		}
		if strip > len(last) {
			return "", 0, errIndex
		}
		prefix, p, used = last[:len(last)-strip], p[n:], n
	}
	end := bytes.IndexByte(p, 0)
	if end < 0 {
		return "", 0, errIndex
	}
	name = prefix + string(p[:end])
	used += end + 1
	if version < 4 {
		if used = (head+end+8)&^7 - head; used > len(p) {
			return "", 0, errIndex
		}
	}
	return name, used, nil
}

func addTracked(into map[string]struct{}, path string) {
	for ; path != ""; path = parent(path) {
		if _, ok := into[path]; ok {
			return
		}
		into[path] = struct{}{}
	}
}

// sharedIndex gives the name of the index that a split one builds upon, ""
// where it is whole.
func sharedIndex(extensions []byte) string {
	for p := extensions; len(p) >= 8; {
		n := binary.BigEndian.Uint32(p[4:])
		if uint64(n) > uint64(len(p)-8) {
			return ""
		}
		body := p[8 : 8+n]
		if string(p[:4]) == "link" && n >= 20 && !bytes.Equal(body[:20], make([]byte, 20)) {
			return fmt.Sprintf("%x", body[:20])
		}
		p = p[8+n:]
	}
	return ""
}
