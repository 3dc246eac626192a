package main

import (
	"bytes"
	_ "embed"
	"encoding/json"
	"html/template"
	"os"
	"path/filepath"
	"strings"
)

//go:embed page.html
var layout string

//go:embed site.css
var css []byte

//go:embed search.js
var search []byte

var pageTemplate = template.Must(template.New("page").Parse(layout))

// group is a part of the index.
type group struct {
	Title string
	Items []item
}

// item is a link of the index.
type item struct {
	Title, URL string
	Here       bool
}

// found is a section as the search has it.
type found struct {
	URL  string `json:"url"`
	Page string `json:"page"`
	section
}

// write writes the pages, the style and the search.
func write(pages []*page, out string) error {
	var all []found
	for _, p := range pages {
		var b bytes.Buffer
		err := pageTemplate.Execute(&b, map[string]any{"Title": p.title, "Body": template.HTML(p.html), "Root": strings.Repeat("../", strings.Count(p.path, "/")), //nolint:gosec // our own pages
			"Groups": index(pages, p)})
		if err != nil {
			return err
		}
		if err := writeFile(filepath.Join(out, url(p.path)), b.Bytes()); err != nil {
			return err
		}
		for _, s := range p.sections {
			s.Text = strings.Join(strings.Fields(s.Text), " ")
			all = append(all, found{URL: url(p.path), Page: p.title, section: s})
		}
	}

	if err := writeFile(filepath.Join(out, "site.css"), css); err != nil {
		return err
	}
	// A script and not a document: a page that is opened from the disk may not fetch.
	raw, err := json.Marshal(all)
	if err != nil {
		return err
	}
	return writeFile(filepath.Join(out, "search.js"), append(append([]byte("const sections = "), raw...), append([]byte(";\n"), search...)...))
}

func writeFile(name string, content []byte) error {
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		return err
	}
	return os.WriteFile(name, content, 0o644)
}

// index is the order of docs/README.md, seen from a page: pages only, each once.
func index(pages []*page, here *page) []group {
	byPath := map[string]*page{}
	for _, p := range pages {
		byPath[p.path] = p
	}
	order := byPath["docs/README.md"]
	if order == nil {
		return nil
	}

	groups := []group{{Title: "pipelined", Items: []item{{Title: "Overview", URL: relative(here.path, "index.html"), Here: here.path == "README.md"}}}}
	listed := map[string]bool{"README.md": true, order.path: true}
	for _, l := range order.byHeading {
		g := group{Title: l.title}
		for _, to := range l.pages {
			if p := byPath[to]; p != nil && !listed[to] {
				listed[to] = true
				g.Items = append(g.Items, item{Title: p.title, URL: relative(here.path, url(to)), Here: p == here})
			}
		}
		if len(g.Items) > 0 {
			groups = append(groups, g)
		}
	}
	return groups
}
