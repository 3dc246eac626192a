package main

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/sha512"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"strings"

	"github.com/evanw/esbuild/pkg/api"
)

// npmPackage is a package as the registry serves it, unpacked.
type npmPackage struct {
	name, version string
	files         map[string][]byte // by their paths in the package
	exports       map[string]json.RawMessage
}

// loadPackages reads the tarballs of all packages that a lock file names, and
// refuses those that it does not know by their digest.
func loadPackages(lockFile, dir string) (map[string]*npmPackage, error) {
	b, err := os.ReadFile(lockFile)
	if err != nil {
		return nil, err
	}
	var lock struct {
		Packages map[string]struct {
			Version   string `json:"version"`
			Integrity string `json:"integrity"`
		} `json:"packages"`
	}
	if err := json.Unmarshal(b, &lock); err != nil {
		return nil, fmt.Errorf("%s: %w", lockFile, err)
	}

	all := map[string]*npmPackage{}
	for key, locked := range lock.Packages {
		name, ok := strings.CutPrefix(key, "node_modules/")
		if !ok {
			continue // the dashboard itself
		}
		file := filepath.Join(dir, tarballName(name, locked.Version))
		if all[name], err = openTarball(file, locked.Integrity); err != nil {
			return nil, fmt.Errorf("%s: %w", file, err)
		}
		all[name].name, all[name].version = name, locked.Version
	}

	return all, nil
}

// tarballName is the name that npm pack gives.
func tarballName(name, version string) string {
	return strings.ReplaceAll(strings.TrimPrefix(name, "@"), "/", "-") + "-" + version + ".tgz"
}

func openTarball(file, integrity string) (*npmPackage, error) {
	packed, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	sum := sha512.Sum512(packed)
	if got := "sha512-" + base64.StdEncoding.EncodeToString(sum[:]); got != integrity {
		return nil, fmt.Errorf("its digest is %s; package-lock.json has %s", got, integrity)
	}

	unzipped, err := gzip.NewReader(bytes.NewReader(packed))
	if err != nil {
		return nil, err
	}
	p := &npmPackage{files: map[string][]byte{}}
	for entries := tar.NewReader(unzipped); ; {
		entry, err := entries.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, err
		}
		_, name, _ := strings.Cut(entry.Name, "/") // all lies below package/
		if p.files[name], err = io.ReadAll(entries); err != nil {
			return nil, err
		}
	}

	var manifest struct {
		Exports map[string]json.RawMessage `json:"exports"`
	}
	if err := json.Unmarshal(p.files["package.json"], &manifest); err != nil {
		return nil, fmt.Errorf("package.json: %w", err)
	}
	p.exports = manifest.Exports

	return p, nil
}

// entry is the file behind a subpath of the package, for a browser that takes
// modules.
func (p *npmPackage) entry(subpath string) (string, error) {
	target := p.exports[subpath]
	for {
		var file string
		if json.Unmarshal(target, &file) == nil {
			return strings.TrimPrefix(file, "./"), nil
		}

		var conditions map[string]json.RawMessage
		if json.Unmarshal(target, &conditions) != nil {
			return "", fmt.Errorf("%s exports no %s", p.name, subpath)
		}
		target = nil
		for _, condition := range [...]string{"browser", "import", "module", "default"} {
			if next, ok := conditions[condition]; ok {
				target = next
				break
			}
		}
	}
}

// tarballs resolves imports of packages, and their own imports of each other.
func tarballs(packages map[string]*npmPackage) api.Plugin {
	const namespace = "npm"

	return api.Plugin{Name: "tarballs", Setup: func(b api.PluginBuild) {
		b.OnResolve(api.OnResolveOptions{Filter: `^[@a-z]`}, func(a api.OnResolveArgs) (api.OnResolveResult, error) {
			if a.Kind == api.ResolveEntryPoint {
				return api.OnResolveResult{}, nil
			}
			name, subpath := splitImport(a.Path)
			p, ok := packages[name]
			if !ok {
				return api.OnResolveResult{}, fmt.Errorf("%s is not in package-lock.json", name)
			}
			file, err := p.entry(subpath)
			return api.OnResolveResult{Path: name + "//" + file, Namespace: namespace}, err
		})
		b.OnResolve(api.OnResolveOptions{Filter: `^\.`, Namespace: namespace}, func(a api.OnResolveArgs) (api.OnResolveResult, error) {
			name, file, _ := strings.Cut(a.Importer, "//")
			return api.OnResolveResult{Path: name + "//" + path.Join(path.Dir(file), a.Path), Namespace: namespace}, nil
		})
		b.OnLoad(api.OnLoadOptions{Filter: `.*`, Namespace: namespace}, func(a api.OnLoadArgs) (api.OnLoadResult, error) {
			name, file, _ := strings.Cut(a.Path, "//")
			content, ok := packages[name].files[file]
			if !ok {
				return api.OnLoadResult{}, fmt.Errorf("%s has no %s", name, file)
			}
			text := string(content)
			return api.OnLoadResult{Contents: &text, Loader: api.LoaderJS}, nil
		})
	}}
}

// splitImport tells a package from the subpath of it that is imported.
func splitImport(s string) (name, subpath string) {
	parts := strings.SplitN(s, "/", 3)
	n := 1
	if strings.HasPrefix(s, "@") {
		n = 2
	}
	if len(parts) <= n {
		return s, "."
	}
	return strings.Join(parts[:n], "/"), "./" + strings.Join(parts[n:], "/")
}
