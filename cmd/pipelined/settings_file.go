package main

import (
	"fmt"
	"slices"
	"strings"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/gohcl"
	"github.com/hashicorp/hcl/v2/hclparse"
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

// parseConfig reads a configuration file: one attribute per setting, by the
// setting's name, and a block per webhook. Dashes in keys count as underscores.
func parseConfig(path string, src []byte) (configFile, error) {
	if mistakes := language.Syntax(path, src); len(mistakes) > 0 {
		return configFile{}, syntaxError(mistakes)
	}
	file, diags := hclparse.NewParser().ParseHCL(src, path)
	if diags.HasErrors() {
		return configFile{}, configError(diags)
	}

	whole := file.Body.(*hclsyntax.Body) // as ParseHCL makes it
	if slices.ContainsFunc(whole.Blocks, func(b *hclsyntax.Block) bool { return b.Type == "pipeline" }) {
		return configFile{}, usagef("%s is a pipeline: -config takes settings of an agent, one NAME = VALUE a line (pipelined agent -print-config shows them); pipelined submit runs a pipeline", path)
	}
	webhooks, body, err := splitWebhooks(whole)
	if err != nil {
		return configFile{}, err
	}
	attrs, diags := body.JustAttributes()
	if diags.HasErrors() {
		return configFile{}, configError(diags)
	}

	keys := make([]string, len(agentTable))
	for i := range agentTable {
		keys[i] = agentTable[i].key()
	}

	out := map[string]fileValue{}
	for name, attr := range attrs {
		at := attr.NameRange.Start
		place := fmt.Sprintf("%s:%d:%d", path, at.Line, at.Column)

		key := strings.ReplaceAll(name, "-", "_")
		i := slices.Index(keys, key)
		if i < 0 {
			return configFile{}, usagef("%s: unknown setting %q%s", place, name, terminal.DidYouMean(key, keys))
		}

		if _, twice := out[key]; twice {
			return configFile{}, usagef("%s: %s is set twice", place, key)
		}

		values, err := decodeSetting(&agentTable[i], attr.Expr)
		if err != nil {
			return configFile{}, usagef("%s: %s: %w", place, name, err)
		}

		out[key] = fileValue{values: values, origin: fmt.Sprintf("%s:%d", path, at.Line), place: place + ": " + name}
	}

	return configFile{out, webhooks}, nil
}

// decodeSetting reads the value of an attribute.
func decodeSetting(s *setting, expr hcl.Expression) ([]string, error) {
	if s.kind == kindList {
		var values []string
		if diags := gohcl.DecodeExpression(expr, nil, &values); !diags.HasErrors() {
			return append([]string{}, values...), nil
		}
	}

	var value string
	if diags := gohcl.DecodeExpression(expr, nil, &value); diags.HasErrors() {
		expected := map[settingKind]string{
			kindText: "a string", kindNumber: "a number", kindSwitch: "true or false", kindList: "a list of strings",
		}[s.kind]

		return nil, fmt.Errorf("expected %s", expected)
	}

	if s.kind == kindList {
		return split([]string{value}), nil
	}

	return []string{value}, nil
}

// syntaxError gives all syntax errors of a configuration file in one line.
func syntaxError(mistakes language.Diagnostics) error {
	var list []string
	for _, d := range mistakes {
		text := fmt.Sprintf("%s:%d:%d: %s", d.File, d.Line, d.Column, d.Summary)
		if d.Detail != "" {
			text += ": " + d.Detail
		}
		list = append(list, text)
	}
	return usagef("%s", strings.Join(list, "; "))
}

// configError gives all that is wrong with the syntax of a configuration file.
func configError(diags hcl.Diagnostics) error {
	var list []string

	for _, d := range diags {
		place := ""
		if d.Subject != nil {
			place = fmt.Sprintf("%s:%d:%d: ", d.Subject.Filename, d.Subject.Start.Line, d.Subject.Start.Column)
		}

		text := strings.TrimSuffix(d.Summary, ".")
		if d.Detail != "" {
			text += ": " + strings.TrimSuffix(d.Detail, ".")
		}

		list = append(list, place+text)
	}

	return usagef("%s", strings.Join(list, "; "))
}
