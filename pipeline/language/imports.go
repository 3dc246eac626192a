package language

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"path"
	"slices"
	"strings"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
)

// maxImports bounds how many files a pipeline imports, directly or not.
const maxImports = 100

// ReadImport reads a file that a pipeline imports, or that a module of it runs. root is the
// root of the workspace, by the file of the pipeline that imports it, and name the file, all
// relative to the directory of the first pipeline's file, with / between their parts. name
// is below root, but for links. For a file that is run, by is name.
type ReadImport func(root, by, name string) ([]byte, error)

// Imported reads files that came along with the source, by their paths.
func Imported(files map[string]string) ReadImport {
	return func(_, _, name string) ([]byte, error) {
		text, ok := files[name]
		if !ok {
			return nil, errors.New("the file did not come along with the source")
		}
		return []byte(text), nil
	}
}

// importBlocks are the blocks of an imported file.
var importBlocks = set("template", "locals", "variable")

const importsText = "an imported file has imports, and blocks template, locals and variable"

// checkImport is for the path of an imported file, which may lie above the file that
// imports it.
func checkImport(s string) *problem {
	const rule = `write the path of a file, relative to the one that imports it, such as "lib/go.hcl"`
	if strings.Contains(s, "://") || strings.Contains(s, "::") || strings.HasPrefix(s, "git@") {
		return wrong("there are no network imports: copy the file into the workspace, and import it by its path", "%s is no file of the workspace", quote(s))
	}

	rest := s
	if s != "" {
		rest = path.Clean(s)
	}
	for strings.HasPrefix(rest, "../") {
		rest = rest[len("../"):]
	}
	if p := checkPath(rest); p != nil {
		return wrong(rule, "%s", p.summary)
	}
	if path.Ext(s) != ".hcl" {
		return wrong(rule+"; there are no network imports", "%s is not the name of an HCL file", quote(s))
	}

	return nil
}

var importsSpec = spec[[]string]{kind: kindTexts, check: checkImport, set: func(list *[]string, r reading) { *list = r.texts }}

// importer reads the files that a pipeline imports, each once, in the order in which they
// are named.
type importer struct {
	*parser
	// open are the files between the pipeline's own and the one that is read.
	open []string
	read map[string]bool
	// bytes and words count what was read, the pipeline's own file included.
	bytes  int
	words  int
	bodies []*hclsyntax.Body
}

// imports reads the files that a pipeline imports, directly or not.
func (p *parser) imports(body *hclsyntax.Body) []*hclsyntax.Body {
	own := path.Base(p.src.name)
	i := &importer{parser: p, open: []string{own}, read: map[string]bool{own: true}, bytes: len(p.src.text), words: p.words}
	if len(p.family.open) == 1 {
		p.family.root = path.Clean(p.file.workspace.Root)
	}
	i.all(body, ".")
	p.family.bytes += i.bytes
	return i.bodies
}

// all reads what the file in a directory imports.
func (i *importer) all(body *hclsyntax.Body, dir string) {
	a := body.Attributes["imports"]
	if a == nil {
		return
	}
	v, ok := i.constant("imports", a.Expr)
	if !ok {
		i.broken = true
		return
	}

	// What is wrong with one path says nothing of the others.
	r, ok := importsSpec.read(i.report, "imports", a.Expr, v)
	i.broken = i.broken || !ok
	for n, name := range r.texts {
		if checkImport(name) == nil {
			i.one(path.Join(dir, name), name, elementRange(a.Expr, n))
		}
	}
}

// one reads a file, unless it was read before. written is its path as it is written at a
// place.
func (i *importer) one(name, written string, at hcl.Range) {
	before := len(i.list)
	defer func() { i.broken = i.broken || len(i.list) > before }()
	if n := slices.Index(i.open, name); n >= 0 {
		i.add(at, "move what both need into a file of its own", "import cycle: %s", strings.Join(append(slices.Clone(i.open[n:]), name), " -> "))
		return
	}

	root := i.workspaceRoot()
	switch {
	case i.read[name]:
		return
	case !i.family.free && !within(root, name):
		i.add(at, fmt.Sprintf("files below it may be imported: move the file, or set root in the workspace block, which is %q here", root),
			"import %s is outside of the workspace root", quote(written))
		return
	case len(i.bodies) == maxImports:
		i.add(at, "", "more than %d imported files", maxImports)
		return
	case i.family.read == nil:
		i.add(at, "", "import %s cannot be read here", quote(written))
		return
	}

	i.read[name] = true
	text, err := i.family.read(i.family.root, i.family.open[len(i.family.open)-1], path.Join(i.dir, name))
	switch {
	case errors.Is(err, fs.ErrNotExist):
		i.add(at, "its path is relative to the file that imports it", "import %s: there is no file %s", quote(written), i.display(name))
		return
	case err != nil:
		i.add(at, "", "import %s: %v", quote(written), err)
		return
	}

	if i.bytes += len(text); i.bytes > MaxSourceBytes {
		i.add(at, "long scripts belong into files of the workspace, which a module can run",
			"with import %s the source has %d KiB, more than the limit of %d KiB", quote(written), (i.bytes+1023)>>10, MaxSourceBytes>>10)
		return
	}
	if i.file.imports == nil {
		i.file.imports = map[string]string{}
	}
	i.file.imports[name] = string(text)

	body := i.parse(i.display(name), text)
	if body == nil {
		return
	}
	i.bodies = append(i.bodies, body)
	i.open = append(i.open, name)
	i.all(body, path.Dir(name))
	i.open = i.open[:len(i.open)-1]
}

// display is the path of an imported file as messages have it: as that of the pipeline.
func (i *importer) display(name string) string { return path.Join(path.Dir(i.src.name), name) }

// parse parses an imported file; nil if it has mistakes.
func (i *importer) parse(name string, text []byte) *hclsyntax.Body {
	own := &report{src: newSource(name, normalize(text)), others: i.words}
	if own.prescan(); len(own.list) == 0 {
		file := newSource(name, own.src.text)
		i.src.add(file)
		body, diags := parseConfig(name, file.text, hcl.Pos{Byte: file.base, Line: 1, Column: 1})
		if !diags.HasErrors() {
			i.words += own.words
			return body
		}
		parseBody(own) // finds more of them
	}

	i.broken = true
	for _, d := range own.list {
		if i.full() {
			i.more++
			continue
		}
		i.list = append(i.list, d)
	}
	i.more += own.more

	return nil
}

// within reports whether a path lies below a root, both relative to the same directory.
func within(root, name string) bool {
	above := strings.Count(root+"/", "../")
	if root == "." || root+"/" == strings.Repeat("../", above) {
		return strings.Count(name, "../") <= above
	}
	return strings.HasPrefix(name, root+"/")
}

// imported decodes what an imported file declares; its templates were read before.
func (p *parser) imported(body *hclsyntax.Body) {
	for _, a := range attributes(body) {
		if a.Name != "imports" {
			p.add(a.NameRange, importsText, "attribute %q in an imported file", a.Name)
		}
	}

	for _, b := range body.Blocks {
		switch {
		case b.Type == "template":
		case b.Type == "variable":
			p.variable(b)
		case b.Type == "locals":
			p.localsBlock(b)
		default:
			detail := didYouMean(b.Type, slices.Sorted(maps.Keys(importBlocks)))
			if detail == "" {
				detail = importsText
			}
			p.add(b.TypeRange, detail, "block %q in an imported file", b.Type)
		}
	}
}

// importable reports whether a file has only what an imported one has.
func importable(body *hclsyntax.Body) bool {
	for name := range body.Attributes {
		if name != "imports" {
			return false
		}
	}
	return len(body.Blocks) > 0 && !slices.ContainsFunc(body.Blocks, func(b *hclsyntax.Block) bool { return !importBlocks[b.Type] })
}
