// Command build bundles the dashboard into api/ui/dist, without Node and
// without a network: TypeScript by esbuild, npm packages out of the tarballs in
// npm/, which must have the digests that package-lock.json pins. The same
// sources give the same bytes. Run it in api/ui/src. With -check it writes nothing,
// and fails if api/ui/dist is not what the sources give.
package main

import (
	"bytes"
	"cmp"
	"compress/gzip"
	"flag"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/evanw/esbuild/pkg/api"
)

const outDir = "../dist"

func main() {
	check := flag.Bool("check", false, "compare with "+outDir+" instead of writing")
	flag.Parse()
	if err := run(*check); err != nil {
		fmt.Fprintln(os.Stderr, "build:", err)
		os.Exit(1)
	}
}

func run(check bool) error {
	packages, err := loadPackages("package-lock.json", "npm")
	if err != nil {
		return err
	}

	result := api.Build(options(packages))
	if len(result.Errors) > 0 {
		return fmt.Errorf("%d mistakes in the sources", len(result.Errors))
	}

	files := map[string][]byte{}
	for _, f := range result.OutputFiles {
		files[filepath.Base(f.Path)] = f.Contents
	}
	if err := addShell(files); err != nil {
		return err
	}
	if files["LICENSES.txt"], err = licences(packages); err != nil {
		return err
	}

	if check {
		return compare(outDir, files)
	}
	for _, name := range slices.Collect(maps.Keys(files)) {
		if compressible(name) {
			files[name+zipped] = zip(files[name])
			delete(files, name)
		}
	}
	return replace(outDir, files)
}

// options name the outputs by their content, so that a browser may keep them
// forever.
func options(packages map[string]*npmPackage) api.BuildOptions {
	return api.BuildOptions{
		EntryPoints: []string{"app/main.tsx", "app/main.css"},
		Outdir:      outDir,
		EntryNames:  "[name]-[hash]",
		AssetNames:  "[name]-[hash]",
		PublicPath:  "/assets",
		Loader:      map[string]api.Loader{".woff2": api.LoaderFile},

		Bundle:            true,
		MinifyWhitespace:  true,
		MinifyIdentifiers: true,
		MinifySyntax:      true,
		Format:            api.FormatESModule,
		Target:            api.ES2022,
		JSX:               api.JSXAutomatic,
		JSXImportSource:   "preact",
		LegalComments:     api.LegalCommentsNone, // LICENSES.txt has the licences whole

		Plugins:  []api.Plugin{tarballs(packages)},
		LogLevel: api.LogLevelWarning,
	}
}

// addShell makes index.html: the styles are in it and the script is named by
// it, so that the first paint needs one answer. It takes the style sheet out of
// the files.
func addShell(files map[string][]byte) error {
	page, err := os.ReadFile("app/index.html")
	if err != nil {
		return err
	}

	find := func(prefix, suffix string) (string, error) {
		for name := range files {
			if strings.HasPrefix(name, prefix) && strings.HasSuffix(name, suffix) {
				return name, nil
			}
		}
		return "", fmt.Errorf("no output %s*%s", prefix, suffix)
	}
	style, err := find("main-", ".css")
	if err != nil {
		return err
	}
	script, err := find("main-", ".js")
	if err != nil {
		return err
	}
	font, err := find("inter-", ".woff2")
	if err != nil {
		return err
	}

	for _, fill := range [...]struct{ mark, text string }{
		{"{{style}}", strings.TrimSpace(string(files[style]))},
		{"{{script}}", "/assets/" + script},
		{"{{font}}", "/assets/" + font},
	} {
		if n := bytes.Count(page, []byte(fill.mark)); n != 1 {
			return fmt.Errorf("app/index.html has %s %d times", fill.mark, n)
		}
		page = bytes.Replace(page, []byte(fill.mark), []byte(fill.text), 1)
	}
	delete(files, style)
	files["index.html"] = page

	return nil
}

// licences are the texts that must go along with what is bundled.
func licences(packages map[string]*npmPackage) ([]byte, error) {
	var out bytes.Buffer
	out.WriteString("What is bundled into the dashboard, and under which licences.\n")

	for _, p := range sortedPackages(packages) {
		text, ok := p.files["LICENSE"]
		if !ok {
			return nil, fmt.Errorf("%s: no LICENSE in its tarball", p.name)
		}
		fmt.Fprintf(&out, "\n==== %s %s ====\n\n%s\n", p.name, p.version, bytes.TrimSpace(text))
	}
	for _, font := range [...]struct{ name, file string }{
		{"Inter (latin)", "fonts/inter-LICENSE.txt"},
		{"Geist Mono (latin)", "fonts/geist-mono-LICENSE.txt"},
	} {
		text, err := os.ReadFile(font.file)
		if err != nil {
			return nil, err
		}
		fmt.Fprintf(&out, "\n==== %s ====\n\n%s\n", font.name, bytes.TrimSpace(text))
	}

	return out.Bytes(), nil
}

func sortedPackages(packages map[string]*npmPackage) []*npmPackage {
	var all []*npmPackage
	for _, p := range packages {
		all = append(all, p)
	}
	slices.SortFunc(all, func(a, b *npmPackage) int { return cmp.Compare(a.name, b.name) })

	return all
}

// zipped is the end of the names of files that are compressed: the binary embeds them as
// they are served.
const zipped = ".gz"

func compressible(name string) bool { return filepath.Ext(name) != ".woff2" }

func zip(plain []byte) []byte {
	var out bytes.Buffer
	w, _ := gzip.NewWriterLevel(&out, gzip.BestCompression)
	_, _ = w.Write(plain) // a buffer never fails
	_ = w.Close()

	return out.Bytes()
}

// content is what a file has, decompressed: another version of Go may compress better.
func content(name string) ([]byte, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if filepath.Ext(name) != zipped {
		return io.ReadAll(f)
	}
	r, err := gzip.NewReader(f)
	if err != nil {
		return nil, err
	}
	return io.ReadAll(r)
}

// compare names the first file of a directory that is not as it should be.
func compare(dir string, files map[string][]byte) error {
	have, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, e := range have {
		name, is := strings.CutSuffix(e.Name(), zipped)
		if _, ok := files[name]; !ok || is != compressible(name) {
			return fmt.Errorf("%s/%s is not what the sources give: run make ui, and commit %s", dir, e.Name(), dir)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(files)) {
		file := filepath.Join(dir, name)
		if compressible(name) {
			file += zipped
		}
		have, err := content(file)
		if err != nil || !bytes.Equal(have, files[name]) {
			return fmt.Errorf("%s/%s is not what the sources give: run make ui, and commit %s", dir, name, dir)
		}
	}

	return nil
}

// replace makes a directory hold these files and no others.
func replace(dir string, files map[string][]byte) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	old, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, e := range old {
		if _, stays := files[e.Name()]; !stays {
			if err := os.Remove(filepath.Join(dir, e.Name())); err != nil {
				return err
			}
		}
	}

	total := 0
	for name, content := range files {
		if err := os.WriteFile(filepath.Join(dir, name), content, 0o644); err != nil {
			return err
		}
		total += len(content)
	}
	fmt.Printf("%s: %d files, %d bytes\n", dir, len(files), total)

	return nil
}
