package inputs

import (
	"cmp"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"

	"github.com/pipelined/pipelined/storage/tree"
)

// execBit is what counts of a file's permissions, as it does for git: the others
// follow from the umask at the checkout.
const execBit = 0o100

// digestOf gives the digest of a listing. Lengths come before texts, so that no
// two listings have the same bytes.
func digestOf(t tree.Tree) string {
	h := sha256.New()
	var b []byte
	for i := range t {
		e := &t[i]
		b = binary.AppendUvarint(b[:0], uint64(len(e.Path)))
		b = append(b, e.Path...)
		b = binary.AppendUvarint(b, uint64(e.Mode&execBit))
		b = binary.AppendUvarint(b, uint64(len(e.Link)))
		b = append(b, e.Link...)
		b = append(b, e.Digest...)
		h.Write(append(b, 0))
	}
	return hex.EncodeToString(h.Sum(nil))
}

// diff walks two sorted listings side by side and describes what differs, in at
// most limit lines; the last one then says how many files it stands for.
func diff(was, is tree.Tree, limit int) []string {
	var lines []string
	n := 0
	add := func(path, what string) {
		if n++; n <= limit {
			lines = append(lines, "file "+path+" "+what)
		}
	}

	for len(was) > 0 || len(is) > 0 {
		order := 0
		switch {
		case len(was) == 0:
			order = 1
		case len(is) == 0:
			order = -1
		default:
			order = cmp.Compare(was[0].Path, is[0].Path)
		}

		switch {
		case order < 0:
			add(was[0].Path, "is gone")
			was = was[1:]
		case order > 0:
			add(is[0].Path, "is new")
			is = is[1:]
		default:
			a, b := &was[0], &is[0]
			switch {
			case a.Digest != b.Digest || a.Link != b.Link || a.Dir != b.Dir:
				add(a.Path, "changed")
			case a.Mode&execBit > b.Mode&execBit:
				add(a.Path, "is no longer executable")
			case a.Mode&execBit != b.Mode&execBit:
				add(a.Path, "is executable now")
			}
			was, is = was[1:], is[1:]
		}
	}

	if n > limit && limit > 0 {
		lines[limit-1] = fmt.Sprintf("and %d more files", n-limit+1)
	}
	return lines
}
