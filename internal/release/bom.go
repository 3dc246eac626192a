package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"

	cdx "github.com/CycloneDX/cyclonedx-go"
	"github.com/CycloneDX/cyclonedx-gomod/pkg/generate/bin"
	"github.com/rs/zerolog"
)

// writeBOM writes the bill of materials of a binary in CycloneDX's form: the modules that
// Go recorded in it, and the packages that the dashboard is made of.
func writeBOM(file string, b *build, t *tree) error {
	generator, err := bin.NewGenerator(t.binary, bin.WithIncludeStdlib(true), bin.WithVersionOverride("v"+b.version), bin.WithLogger(zerolog.Nop()))
	if err != nil {
		return err
	}

	bom, err := generator.Generate()
	if err != nil {
		return err
	}

	bom.Metadata.Timestamp = b.time.Format("2006-01-02T15:04:05Z")

	packages, err := dashboard(b.root)
	if err != nil {
		return err
	}

	all := append(*bom.Components, packages...)
	bom.Components = &all

	var out bytes.Buffer
	encoder := cdx.NewBOMEncoder(&out, cdx.BOMFileFormatJSON)
	encoder.SetPretty(true)
	if err := encoder.Encode(bom); err != nil {
		return err
	}

	return os.WriteFile(file, out.Bytes(), 0o644)
}

// dashboard lists the packages of npm that the dashboard is made of.
func dashboard(root string) ([]cdx.Component, error) {
	text, err := os.ReadFile(filepath.Join(root, "api/ui/src/package-lock.json"))
	if err != nil {
		return nil, err
	}

	var lock struct {
		Packages map[string]struct{ Version, License string }
	}
	if err := json.Unmarshal(text, &lock); err != nil {
		return nil, fmt.Errorf("package-lock.json: %w", err)
	}

	var out []cdx.Component
	for path, p := range lock.Packages {
		name, ok := strings.CutPrefix(path, "node_modules/")
		if !ok {
			continue // the dashboard itself
		}

		id := "pkg:npm/" + strings.ReplaceAll(url.PathEscape(name), "%2F", "/") + "@" + p.Version
		out = append(out, cdx.Component{BOMRef: id, Type: cdx.ComponentTypeLibrary, Name: name, Version: p.Version, PackageURL: id,
			Licenses: &cdx.Licenses{{License: &cdx.License{ID: p.License}}}})
	}

	slices.SortFunc(out, func(a, b cdx.Component) int { return strings.Compare(a.Name, b.Name) })

	return out, nil
}
