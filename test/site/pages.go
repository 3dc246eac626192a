package main

import (
	"bytes"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"unicode"

	"github.com/yuin/goldmark"
	"github.com/yuin/goldmark/ast"
	"github.com/yuin/goldmark/extension"
	"github.com/yuin/goldmark/parser"
	"github.com/yuin/goldmark/text"
	"github.com/yuin/goldmark/util"
)

// source is where files lie that are no pages.
const source = "https://github.com/pipelined/pipelined/blob/main/"

// page is one Markdown file.
type page struct {
	// path below the repository, with slashes.
	path  string
	title string
	// html is the rendered body.
	html string
	// sections are its parts, for the search.
	sections []section
	// links are what it refers to, as it is written.
	links []string
	// byHeading are the pages that it refers to below each of its headings.
	byHeading []heading
}

// heading is a heading of the second level with the pages that are linked below it.
type heading struct {
	title string
	pages []string
}

// section is a heading with the text below it.
type section struct {
	ID    string `json:"id"`
	Title string `json:"title"`
	Text  string `json:"text"`
}

// url is where a page of the repository lies in the site.
func url(p string) string {
	if path.Base(p) == "README.md" {
		return path.Join(path.Dir(p), "index.html")
	}
	return strings.TrimSuffix(p, ".md") + ".html"
}

// readPages reads README.md and everything below docs.
func readPages(root string) ([]*page, error) {
	names := []string{"README.md", "examples/external-worker/README.md"}
	err := filepath.WalkDir(filepath.Join(root, "docs"), func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || filepath.Ext(name) != ".md" {
			return err
		}
		rel, err := filepath.Rel(root, name)
		names = append(names, filepath.ToSlash(rel))
		return err
	})
	if err != nil {
		return nil, err
	}

	pages := make([]*page, 0, len(names))
	for _, name := range names {
		src, err := os.ReadFile(filepath.Join(root, name))
		if err != nil {
			return nil, err
		}
		p, err := parse(name, src, names)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		pages = append(pages, p)
	}
	return pages, nil
}

// parse renders a page. Links to other pages lead to their HTML, links to other files
// to the repository.
func parse(name string, src []byte, pages []string) (*page, error) {
	md := goldmark.New(goldmark.WithExtensions(extension.Table, extension.Strikethrough), goldmark.WithParserOptions(parser.WithAutoHeadingID()))
	doc := md.Parser().Parse(text.NewReader(src), parser.WithContext(parser.NewContext(parser.WithIDs(&anchors{}))))

	p := &page{path: name}
	err := ast.Walk(doc, func(n ast.Node, entering bool) (ast.WalkStatus, error) {
		if !entering {
			return ast.WalkContinue, nil
		}
		switch n := n.(type) {
		case *ast.Heading:
			id, _ := n.AttributeString("id")
			p.sections = append(p.sections, section{ID: fmt.Sprintf("%s", id), Title: plain(n, src)})
			if n.Level == 2 {
				p.byHeading = append(p.byHeading, heading{title: plain(n, src)})
			}
		case *ast.Link:
			p.addLink(string(n.Destination))
			n.Destination = []byte(destination(name, string(n.Destination), pages))
		case *ast.Image:
			p.links = append(p.links, string(n.Destination))
		default:
			if n.Type() == ast.TypeBlock && len(p.sections) > 0 && n.Lines().Len() > 0 || isCell(n) && len(p.sections) > 0 {
				last := &p.sections[len(p.sections)-1]
				last.Text += plain(n, src) + " "
			}
		}
		return ast.WalkContinue, nil
	})
	if err != nil {
		return nil, err
	}
	if len(p.sections) == 0 {
		return nil, fmt.Errorf("it has no heading")
	}
	p.title = p.sections[0].Title

	var out bytes.Buffer
	if err := md.Renderer().Render(&out, src, doc); err != nil {
		return nil, err
	}
	p.html = out.String()
	return p, nil
}

// addLink notes a link.
func (p *page) addLink(to string) {
	p.links = append(p.links, to)
	if len(p.byHeading) == 0 {
		return
	}
	file, _, _ := strings.Cut(to, "#")
	target := path.Join(path.Dir(p.path), file)
	if strings.HasSuffix(to, "/") {
		target = path.Join(target, "README.md")
	}
	last := &p.byHeading[len(p.byHeading)-1]
	last.pages = append(last.pages, target)
}

// isCell reports whether a node is a cell of a table, which has no lines of its own.
func isCell(n ast.Node) bool { return n.Kind().String() == "TableCell" }

// plain is the text of a node, without marks.
func plain(n ast.Node, src []byte) string {
	var b strings.Builder
	if n.Kind() == ast.KindFencedCodeBlock || n.Kind() == ast.KindCodeBlock {
		return string(n.Lines().Value(src))
	}
	for c := n.FirstChild(); c != nil; c = c.NextSibling() {
		if t, ok := c.(*ast.Text); ok {
			b.Write(t.Segment.Value(src))
			if t.SoftLineBreak() {
				b.WriteByte(' ')
			}
			continue
		}
		b.WriteString(plain(c, src))
	}
	return b.String()
}

// destination is a link of a page as the site has it.
func destination(from, to string, pages []string) string {
	if to == "" || strings.HasPrefix(to, "#") || strings.Contains(to, "://") || strings.HasPrefix(to, "mailto:") {
		return to
	}
	file, anchor, found := strings.Cut(to, "#")
	if found {
		anchor = "#" + anchor
	}
	target := path.Join(path.Dir(from), file)
	switch {
	case slices.Contains(pages, target):
		return relative(from, url(target)) + anchor
	case slices.Contains(pages, path.Join(target, "README.md")):
		return relative(from, url(path.Join(target, "README.md"))) + anchor
	}
	return source + target + anchor
}

// relative is the way from a page to a file of the site.
func relative(from, to string) string {
	return strings.Repeat("../", strings.Count(from, "/")) + to
}

// checkLinks gives an error for each link that leads nowhere.
func checkLinks(root string, pages []*page) []error {
	byPath := map[string]*page{}
	for _, p := range pages {
		byPath[p.path] = p
	}

	var errs []error
	for _, p := range pages {
		for _, link := range p.links {
			if strings.Contains(link, "://") || strings.HasPrefix(link, "mailto:") {
				continue
			}
			file, anchor, _ := strings.Cut(link, "#")
			target := p.path
			if file != "" {
				target = path.Join(path.Dir(p.path), file)
			}
			if _, err := os.Stat(filepath.Join(root, filepath.FromSlash(target))); err != nil {
				errs = append(errs, fmt.Errorf("%s: the link to %s leads nowhere", p.path, link))
				continue
			}
			to := byPath[target]
			if anchor != "" && to != nil && !slices.ContainsFunc(to.sections, func(s section) bool { return s.ID == anchor }) {
				errs = append(errs, fmt.Errorf("%s: the link to %s names no heading of %s", p.path, link, target))
			}
		}
	}
	return errs
}

// anchors makes the ids of headings as GitHub does.
type anchors struct{ used map[string]int }

// Generate makes the id of a heading.
func (a *anchors) Generate(value []byte, _ ast.NodeKind) []byte {
	var b strings.Builder
	for _, r := range strings.ToLower(string(util.TrimLeftSpace(util.TrimRightSpace(value)))) {
		switch {
		case r == ' ':
			b.WriteByte('-')
		case r == '-' || r == '_' || unicode.IsLetter(r) || unicode.IsDigit(r):
			b.WriteRune(r)
		}
	}
	id := b.String()
	if a.used == nil {
		a.used = map[string]int{}
	}
	n := a.used[id]
	a.used[id]++
	if n > 0 {
		id = fmt.Sprintf("%s-%d", id, n)
	}
	return []byte(id)
}

// Put takes note of an id.
func (a *anchors) Put([]byte) {}
