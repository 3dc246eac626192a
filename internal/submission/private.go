package submission

import (
	"fmt"
	"io/fs"
	"os"
	"os/user"
	"path/filepath"
	"slices"
	"strings"

	"github.com/pipelined/pipelined/pipeline"
	"github.com/pipelined/pipelined/storage"
	"github.com/pipelined/pipelined/storage/blob"
	"github.com/pipelined/pipelined/storage/tree"
)

// privateDirs end the paths of directories that hold keys, state or configuration
// of this program, whichever user they belong to.
var privateDirs = []string{"/.config/pipelined", "/.local/state/pipelined"}

// private are paths that never go along with a run: absolute, links resolved.
type private []string

// newPrivate resolves paths. One that does not exist may be created while the files
// are read (the key of a first run): links above it are resolved all the same.
func newPrivate(paths []string) private {
	var p private
	for _, path := range paths {
		if path == "" {
			continue
		}
		abs, err := filepath.Abs(path)
		if err != nil {
			continue
		}

		rest := ""
		for {
			if real, err := filepath.EvalSymlinks(abs); err == nil || abs == "/" {
				p = append(p, filepath.Join(real, rest))
				break
			}
			abs, rest = filepath.Dir(abs), filepath.Join(filepath.Base(abs), rest)
		}
	}

	return p
}

// holds reports whether a directory, of which the names are known, is private: by
// its path, or because it is the data directory of a node.
func (p private) holds(dir string, names []fs.DirEntry) bool {
	for _, end := range privateDirs {
		if strings.HasSuffix(dir, end) {
			return true
		}
	}

	return slices.Contains(p, dir) || storage.IsDataDir(dir, names)
}

// withoutSecrets removes the files of a tree that hold one of the texts and nothing
// else: copies of a key or token under any name.
func withoutSecrets(t tree.Tree, secrets []string, warn func(string)) tree.Tree {
	digests := map[pipeline.Digest]bool{}
	for _, s := range secrets {
		if s = strings.TrimSpace(s); s != "" {
			digests[blob.DigestOf([]byte(s))] = true
			digests[blob.DigestOf([]byte(s+"\n"))] = true
		}
	}

	return slices.DeleteFunc(t, func(e pipeline.TreeEntry) bool {
		if !digests[e.Digest] || e.Dir || e.Link != "" {
			return false
		}
		warn(fmt.Sprintf("left out %q: it holds the cluster key or a token", e.Path))
		return true
	})
}

// BroadRoot names the directory that the workspace consists of if it is likely to
// hold far more than the pipeline needs: a home directory, the root of the file
// system, or a directory for everybody's temporary files. It is "" for any other, and
// if nothing goes along.
func (j *Job) BroadRoot() string {
	rules := j.source.File.Workspace()
	if slices.Contains(rules.Exclude, "**") {
		return ""
	}
	root, err := filepath.Abs(filepath.Join(j.source.dir, rules.Root))
	if err != nil {
		return ""
	}
	if root, err = filepath.EvalSymlinks(root); err != nil {
		return "" // reading the files reports it
	}

	is := func(paths ...string) bool {
		return slices.ContainsFunc(paths, func(path string) bool {
			real, err := filepath.EvalSymlinks(path)
			return err == nil && filepath.IsAbs(path) && real == root
		})
	}
	switch {
	case root == "/":
		return "the root of the file system"
	case is(j.options.homes()...), slices.Contains([]string{"/home", "/Users"}, filepath.Dir(root)):
		return "the home directory " + root
	case is("/home", "/Users"):
		return root + ", which holds home directories"
	case is(os.TempDir(), "/tmp", "/var/tmp", "/dev/shm"):
		return root + ", which holds temporary files of all programs"
	}

	return ""
}

// homes are the home directories that are known: as the environment says, as the
// account says, and root's.
func (o *Options) homes() []string {
	homes := []string{"/root"}
	for _, kv := range o.Environ {
		if home, ok := strings.CutPrefix(kv, "HOME="); ok {
			homes = append(homes, home)
		}
	}
	if u, err := user.Current(); err == nil {
		homes = append(homes, u.HomeDir)
	}

	return homes
}

// Files are the number of files that go along, and their size in bytes.
func (j *Job) Files() (n int, size int64) {
	for _, e := range j.workspace.tree {
		if !e.Dir {
			n, size = n+1, size+e.Size
		}
	}

	return n, size
}
