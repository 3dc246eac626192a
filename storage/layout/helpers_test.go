package layout_test

import (
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"github.com/pipelined/pipelined/pipeline"
	"github.com/pipelined/pipelined/storage/blob"
	"github.com/pipelined/pipelined/storage/blob/blobtest"
	"github.com/pipelined/pipelined/storage/tree"
)

// file makes an entry of a file with some content.
func file(path, content string) pipeline.TreeEntry {
	return pipeline.TreeEntry{Path: path, Mode: 0o644, Size: int64(len(content)), Digest: blob.DigestOf([]byte(content))}
}

func link(path, target string) pipeline.TreeEntry {
	return pipeline.TreeEntry{Path: path, Mode: 0o777, Link: target}
}

func directory(path string) pipeline.TreeEntry {
	return pipeline.TreeEntry{Path: path, Mode: 0o755, Dir: true}
}

func paths(t tree.Tree) []string {
	list := []string{}
	for _, e := range t {
		list = append(list, e.Path)
	}
	return list
}

func writeFile(tb testing.TB, path, text string, mode fs.FileMode) {
	tb.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		tb.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), mode); err != nil {
		tb.Fatal(err)
	}
	if err := os.Chmod(path, mode); err != nil { // past the umask
		tb.Fatal(err)
	}
}

// spoil overwrites the file of a blob.
func spoil(tb testing.TB, dir string, d pipeline.Digest, p []byte) {
	tb.Helper()
	path := blobtest.File(dir, d)
	if err := os.Chmod(path, 0o600); err != nil {
		tb.Fatal(err)
	}
	if err := os.WriteFile(path, p, 0o600); err != nil {
		tb.Fatal(err)
	}
}
