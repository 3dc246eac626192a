// Command site makes a site of the pages in docs/: the same files as HTML, with an
// index at the side and a search that works without a server.
//
// A link of a page that leads nowhere is an error.
package main

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
)

func main() {
	root := flag.String("root", ".", "DIR of the repository")
	out := flag.String("out", "bin/site", "DIR to write to")
	flag.Parse()

	if err := run(*root, *out); err != nil {
		fmt.Fprintln(os.Stderr, "site:", err)
		os.Exit(1)
	}
}

// run reads all pages, checks their links, and writes the site.
func run(root, out string) error {
	pages, err := readPages(root)
	if err != nil {
		return err
	}
	if err := errors.Join(checkLinks(root, pages)...); err != nil {
		return err
	}
	if err := os.RemoveAll(out); err != nil {
		return err
	}
	if err := write(pages, out); err != nil {
		return err
	}
	if err := os.CopyFS(filepath.Join(out, "docs", "images"), os.DirFS(filepath.Join(root, "docs", "images"))); err != nil {
		return err
	}

	fmt.Printf("%s: %d pages; open %s\n", out, len(pages), filepath.Join(out, "index.html"))
	return nil
}
