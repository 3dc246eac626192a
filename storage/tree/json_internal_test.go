package tree

import (
	"bytes"
	"encoding/json"
	"math/rand/v2"
	"reflect"
	"slices"
	"testing"

	"github.com/pipelined/pipelined/pipeline"
	"github.com/pipelined/pipelined/storage/blob"
)

// plainJSON is what a tree's blob is defined by.
func plainJSON(t *testing.T, tree Tree) []byte {
	t.Helper()
	var buf bytes.Buffer
	enc := json.NewEncoder(&buf)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(tree); err != nil {
		t.Fatal(err)
	}
	return bytes.TrimSuffix(buf.Bytes(), []byte("\n"))
}

// The quick way and encoding/json agree, byte for byte, in both directions.
func TestTreeJSON(t *testing.T) {
	if n := reflect.TypeFor[pipeline.TreeEntry]().NumField(); n != 6 {
		t.Fatalf("a tree's entry has %d fields and appendTree writes 6", n)
	}
	letters := []string{"a", "Z", "9", "-", " ", "<", "&", ">", `"`, `\`, "\t", "\n", "\x01", "\x7f", "é", "\u2028", "\u2029", "日", "😀", "'"}
	r := rand.New(rand.NewPCG(1, 2))
	text := func() string {
		s := ""
		for range 1 + r.IntN(6) {
			s += letters[r.IntN(len(letters))]
		}
		return s
	}
	for range 300 {
		tree := Tree{}
		for range r.IntN(20) {
			e := pipeline.TreeEntry{Path: text(), Mode: uint32(r.IntN(0o1000))}
			switch r.IntN(4) {
			case 0:
				e.Dir = true
			case 1:
				e.Link = text()
			default:
				e.Digest, e.Size = pipeline.EmptyDigest, 0
				if n := r.IntN(3); n > 0 {
					e.Digest, e.Size = blob.DigestOf([]byte{byte(n)}), r.Int64()
				}
			}
			tree = append(tree, e)
		}
		tree.Sort()
		tree = slices.CompactFunc(tree, func(a, b pipeline.TreeEntry) bool { return a.Path == b.Path })
		want := plainJSON(t, tree)
		got, err := appendTree(nil, tree)
		if err != nil || !bytes.Equal(got, want) {
			t.Fatalf("got  %s\nwant %s, %v", got, want, err)
		}
		if back, ok := parseTree(want); ok && !slices.Equal(back, tree) {
			t.Fatalf("parsed %+v\nwant   %+v", back, tree)
		}
		back, err := Decode(want)
		if err == nil && !slices.Equal(back, tree) {
			t.Fatalf("decoded %+v\nwant    %+v", back, tree)
		}
	}
	plain := Tree{{Path: "a/b c", Mode: 0o644, Digest: blob.DigestOf([]byte("x")), Size: 1}, {Path: "l", Mode: 0o777, Link: "a"}, {Path: "v", Mode: 0o755, Dir: true}}
	if back, ok := parseTree(plainJSON(t, plain)); !ok || !slices.Equal(back, plain) {
		t.Errorf("the quick way does not take %+v", plain)
	}
	for _, odd := range []string{`[{"path":"a","mode":01}]`, `[{"path":"a","mode":1}`, `[{"path":"a","mode":1}]x`, `[{"path":"a","mode":1},]`, `[{"path":"a","mode":-1}]`,
		`[{"path":"a","mode":1,"size":0}]`, `[{"path":"a","mode":1,"dir":false}]`, `[{"path":"a","mode":99999999999999999999}]`, ` []`, `[{"path":"a`, `{`, ``} {
		if _, ok := parseTree([]byte(odd)); ok {
			t.Errorf("the quick way takes %s", odd)
		}
	}
}

func FuzzParseTree(f *testing.F) {
	f.Add([]byte(`[{"path":"a","mode":420,"size":1,"digest":"x"},{"path":"b","mode":511,"link":"a"}]`))
	f.Fuzz(func(t *testing.T, blob []byte) {
		got, ok := parseTree(blob)
		if !ok {
			return
		}
		var want Tree
		dec := json.NewDecoder(bytes.NewReader(blob))
		dec.DisallowUnknownFields()
		if err := dec.Decode(&want); err != nil || len(got) != len(want) || !slices.Equal(got, want) {
			t.Errorf("%q: got %+v, want %+v, %v", blob, got, want, err)
		}
	})
}
