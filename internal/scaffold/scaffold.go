// Package scaffold looks at the directory of a project and writes a first pipeline for
// it, with the caches of its tools. It reads only file names and the files that say how a
// project is built, runs nothing, and writes nothing itself. It knows nothing of the
// language but its text. Its functions may be called at the same time.
package scaffold

import (
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
)

// Project is what was found in a directory, and what a pipeline needs for it.
type Project struct {
	// Name is the pipeline's.
	Name string
	// Found says what was found, a line each, and Notes what a person should know.
	Found, Notes []string

	env     []variable
	envFrom []string
	exclude []string
	modules []module
	image   bool
}

// variable is an entry of env.
type variable struct{ name, value string }

// module is one block.
type module struct {
	name, description, dir string
	command                []string
	script                 string
	outputs, optional      []string
	caches, tools          []string
	dependsOn              []string
	when                   string
	cached                 bool
}

// part is a directory with what its files say, as each kind of project reads it.
type part struct {
	root string
	// dir is below root, "" for root itself; prefix begins the names of its modules.
	dir, prefix string
	files       []string
}

func (p *part) has(name string) bool { return slices.Contains(p.files, name) }

// read gives the beginning of a file; "" if it cannot be read.
func (p *part) read(name string) string {
	f, err := os.Open(filepath.Join(p.root, p.dir, name))
	if err != nil {
		return ""
	}
	defer f.Close()

	text := make([]byte, 256<<10)
	n, _ := f.Read(text) // what cannot be read says nothing
	return string(text[:n])
}

// at is a path below root, for people and patterns.
func (p *part) at(name string) string { return path.Join(p.dir, name) }

// kind is one sort of project.
type kind struct {
	// name begins names of modules if a directory has more than one kind.
	name string
	// files are those that tell it; one is enough.
	files []string
	add   func(*Project, *part)
}

var kinds = []kind{
	{"go", []string{"go.mod"}, addGo},
	{"node", []string{"package.json"}, addNode},
	{"python", []string{"pyproject.toml", "setup.py", "requirements.txt"}, addPython},
	{"rust", []string{"Cargo.toml"}, addRust},
}

const (
	// depth is how far below the directory projects are looked for, most how many
	// of them are taken.
	depth = 3
	most  = 20
)

// skipped are directories that hold no projects of their own.
var skipped = []string{"node_modules", "vendor", "target", "dist", "build", "testdata", "venv", "third_party", "__pycache__"}

// Look finds out what a directory holds.
func Look(dir string) (*Project, error) {
	abs, err := filepath.Abs(dir)
	if err != nil {
		return nil, err
	}

	p := &Project{Name: slug(filepath.Base(abs))}
	// The walk follows no links, and the directory itself may be one.
	if abs, err = filepath.EvalSymlinks(abs); err != nil {
		return nil, err
	}
	parts, err := partsOf(abs)
	if err != nil {
		return nil, err
	}

	p.addParts(parts)
	root := parts[0]
	switch {
	case !root.has("Makefile") && !root.has("makefile") && !root.has("GNUmakefile"):
	case len(p.modules) == 0:
		addMake(p, root)
	default:
		p.Found = append(p.Found, "Makefile: not used, the files above say how to build and test")
		p.Notes = append(p.Notes, `command = ["make", "TARGET"] runs a target of the Makefile`)
	}

	if root.has("Dockerfile") {
		addImage(p)
	}

	workflows, _ := filepath.Glob(filepath.Join(abs, ".github", "workflows", "*.y*ml"))
	for _, w := range workflows {
		p.Found = append(p.Found, ".github/workflows/"+filepath.Base(w)+": not read; compare its jobs with the modules")
	}
	if len(workflows) > 0 {
		p.Notes = append(p.Notes, "pipelined convert FILE writes a pipeline out of a workflow of GitHub Actions")
	}

	if len(p.modules) == 0 {
		p.Found = append(p.Found, "nothing that says how this directory is built: the pipeline is an example")
		p.modules = append(p.modules, module{name: "hello", description: "Replace this by what the project needs", script: "echo \"hello from $PIPELINED_WORKER\""})
	}

	return p, nil
}

// partsOf lists the directories that may hold projects, the root first. Where a part
// holds a kind of project, those of its kind below it belong to it.
func partsOf(root string) ([]*part, error) {
	var parts []*part
	err := filepath.WalkDir(root, func(name string, d fs.DirEntry, err error) error {
		switch {
		case err != nil && name == root:
			return err
		case name != root && (err != nil || !d.IsDir()):
			return nil // what cannot be read holds no project
		}

		rel, err := filepath.Rel(root, name)
		if err != nil {
			return err
		}

		rel = filepath.ToSlash(rel)
		if rel == "." {
			rel = ""
		}
		if rel != "" && (strings.HasPrefix(d.Name(), ".") || slices.Contains(skipped, d.Name()) || strings.Count(rel, "/") >= depth) {
			return fs.SkipDir
		}

		entries, err := os.ReadDir(name)
		switch {
		case err != nil && rel == "":
			return err
		case err != nil:
			return fs.SkipDir
		}

		p := &part{root: root, dir: rel}
		for _, e := range entries {
			if !e.IsDir() {
				p.files = append(p.files, e.Name())
			}
		}
		parts = append(parts, p)
		return nil
	})
	return parts, err
}

// addParts adds the projects of every kind. A project below one of its kind is that one's
// own matter: a workspace, an example.
func (p *Project) addParts(parts []*part) {
	type found struct {
		*part
		kind
	}
	var all []found
	for _, k := range kinds {
		var above []string
		for _, at := range parts {
			nested := slices.ContainsFunc(above, func(dir string) bool { return dir == "" || strings.HasPrefix(at.dir, dir+"/") })
			if !nested && slices.ContainsFunc(k.files, at.has) {
				above = append(above, at.dir)
				all = append(all, found{at, k})
			}
		}
	}

	if len(all) > most {
		p.Notes = append(p.Notes, "there are more projects: the first ones are in the pipeline")
		all = all[:most]
	}

	for _, f := range all {
		kindsHere := 0
		for _, other := range all {
			if other.dir == f.dir {
				kindsHere++
			}
		}

		one := *f.part
		switch {
		case len(all) == 1 && f.dir == "":
		case f.dir == "":
			one.prefix = f.name + "-"
		case kindsHere > 1:
			one.prefix = slug(f.dir) + "-" + f.name + "-"
		default:
			one.prefix = slug(f.dir) + "-"
		}
		f.add(p, &one)
	}
}

// slug makes a name of a pipeline or a module of a text.
func slug(text string) string {
	name := strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '_' {
			return r
		}
		return '-'
	}, text)
	name = strings.Trim(name, "-")
	if name == "" {
		return "app"
	}

	return name[:min(len(name), 40)]
}

// use adds variables of the pipeline, each name once.
func (p *Project) use(list ...variable) {
	for _, v := range list {
		if !slices.ContainsFunc(p.env, func(have variable) bool { return have.name == v.name }) {
			p.env = append(p.env, v)
		}
	}
}

// take adds names of variables that come from where a run is submitted.
func (p *Project) take(names ...string) {
	for _, n := range names {
		if !slices.Contains(p.envFrom, n) {
			p.envFrom = append(p.envFrom, n)
		}
	}
}

// add adds a module of a part. Names are made unique.
func (p *Project) add(at *part, m module) {
	m.name = at.prefix + m.name
	taken := func(other module) bool { return other.name == m.name }
	for slices.ContainsFunc(p.modules, taken) {
		m.name += "-2"
	}
	m.dir = at.dir
	p.modules = append(p.modules, m)
}
