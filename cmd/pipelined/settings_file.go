package main

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/gohcl"
	"github.com/hashicorp/hcl/v2/hclsyntax"

	"github.com/pipelined/pipelined/internal/terminal"
	"github.com/pipelined/pipelined/pipeline/language"
)

// fileValue is a value in a configuration file.
type fileValue struct {
	values []string
	// origin is FILE:LINE; place adds the column and the key, for errors.
	origin, place string
}

// configFile is what a configuration file holds.
type configFile struct {
	settings map[string]fileValue
	webhooks []webhookBlock
}

// configParser collects what a configuration file holds, and every mistake in it.
type configParser struct {
	path     string
	out      configFile
	mistakes []configMistake
}

// configMistake is one mistake, at its place.
type configMistake struct {
	line, column int
	text         string
}

// parseConfig reads a configuration file: one attribute per setting, by the
// setting's name, and a block per webhook. Dashes in keys count as underscores.
func parseConfig(path string, src []byte) (configFile, error) {
	p := &configParser{path: path, out: configFile{settings: map[string]fileValue{}}}

	if len(src) > language.MaxSourceBytes {
		return configFile{}, usagef("%s has %d KiB: a configuration has at most %d KiB", path, (len(src)+1023)>>10, language.MaxSourceBytes>>10)
	}
	body, syntax := language.Syntax(path, src)
	for _, d := range syntax {
		text := d.Summary
		if d.Detail != "" {
			text += ": " + d.Detail
		}
		p.mistakes = append(p.mistakes, configMistake{d.Line, d.Column, text})
	}

	if body != nil {
		if slices.ContainsFunc(body.Blocks, func(b *hclsyntax.Block) bool { return b.Type == "pipeline" }) {
			return configFile{}, usagef("%s is a pipeline: -config takes settings of an agent, one NAME = VALUE a line (pipelined agent -print-config shows them); pipelined submit runs a pipeline", path)
		}
		p.settings(body)
		for _, block := range body.Blocks {
			p.block(block)
		}
	}

	return p.out, p.err()
}

// wrong records a mistake.
func (p *configParser) wrong(at hcl.Range, format string, args ...any) {
	p.mistakes = append(p.mistakes, configMistake{at.Start.Line, at.Start.Column, fmt.Sprintf(format, args...)})
}

// broken reports whether the syntax of some of these lines is wrong: what is missing there
// may be missing because of that.
func (p *configParser) broken(lines hcl.Range) bool {
	return slices.ContainsFunc(p.mistakes, func(m configMistake) bool { return lines.Start.Line <= m.line && m.line <= lines.End.Line })
}

// err gives all mistakes in the order of the file.
func (p *configParser) err() error {
	slices.SortStableFunc(p.mistakes, func(a, b configMistake) int {
		return cmp.Or(cmp.Compare(a.line, b.line), cmp.Compare(a.column, b.column))
	})

	var list []error
	for _, m := range p.mistakes {
		list = append(list, usagef("%s:%d:%d: %s", p.path, m.line, m.column, m.text))
	}
	return errors.Join(list...)
}

// attributes are those of a body in the order of the file.
func attributes(body *hclsyntax.Body) []*hclsyntax.Attribute {
	return slices.SortedFunc(maps.Values(body.Attributes), func(a, b *hclsyntax.Attribute) int {
		return cmp.Compare(a.SrcRange.Start.Byte, b.SrcRange.Start.Byte)
	})
}

// settings reads the attributes of the file.
func (p *configParser) settings(body *hclsyntax.Body) {
	keys := make([]string, len(agentTable))
	for i := range agentTable {
		keys[i] = agentTable[i].key()
	}

	for _, attr := range attributes(body) {
		key := strings.ReplaceAll(attr.Name, "-", "_")
		i := slices.Index(keys, key)
		if i < 0 {
			p.wrong(attr.NameRange, "unknown setting %q%s", attr.Name, terminal.DidYouMean(key, keys))
			continue
		}

		if first, twice := p.out.settings[key]; twice {
			p.wrong(attr.NameRange, "%s is set twice: the first is at %s", key, first.origin)
			continue
		}

		values, err := decodeSetting(agentTable[i].kind, attr.Expr)
		if err != nil {
			p.wrong(attr.NameRange, "%s: %v", attr.Name, err)
			continue
		}

		at := attr.NameRange.Start
		p.out.settings[key] = fileValue{
			values: values,
			origin: fmt.Sprintf("%s:%d", p.path, at.Line),
			place:  fmt.Sprintf("%s:%d:%d: %s", p.path, at.Line, at.Column, attr.Name),
		}
	}
}

// decodeSetting reads the value of an attribute.
func decodeSetting(kind settingKind, expr hcl.Expression) ([]string, error) {
	if kind == kindList {
		var values []string
		if diags := gohcl.DecodeExpression(expr, nil, &values); !diags.HasErrors() {
			return append([]string{}, values...), nil
		}
	}

	var value string
	if diags := gohcl.DecodeExpression(expr, nil, &value); diags.HasErrors() {
		return nil, fmt.Errorf("expected %s", map[settingKind]string{
			kindText: "a string", kindNumber: "a number", kindSwitch: "true or false", kindList: "a list of strings",
		}[kind])
	}

	if kind == kindList {
		return split([]string{value}), nil
	}

	return []string{value}, nil
}
