package main

import (
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/hashicorp/hcl/v2/hclsyntax"

	"github.com/pipelined/pipelined/internal/node"
	"github.com/pipelined/pipelined/internal/terminal"
)

// webhookBlock is a block of a configuration file: a webhook of the cluster.
type webhookBlock struct {
	name, url, format, secretFile string
	types, pipelines              []string
	origin                        string // FILE:LINE
}

// webhookTable has the attributes of such a block.
var webhookTable = []struct {
	key      string
	kind     settingKind
	required bool
	set      func(w *webhookBlock, values []string)
}{
	{"url", kindText, true, func(w *webhookBlock, v []string) { w.url = v[0] }},
	{"types", kindList, false, func(w *webhookBlock, v []string) { w.types = v }},
	{"pipelines", kindList, false, func(w *webhookBlock, v []string) { w.pipelines = v }},
	{"format", kindText, false, func(w *webhookBlock, v []string) { w.format = v[0] }},
	{"secret_file", kindText, true, func(w *webhookBlock, v []string) { w.secretFile = v[0] }},
}

// block reads a block of the file, which defines a webhook.
func (p *configParser) block(block *hclsyntax.Block) {
	if block.Type != "webhook" {
		p.wrong(block.TypeRange, "unknown block %q: a configuration has settings, NAME = VALUE, and blocks webhook \"NAME\" { … }", block.Type)
		return
	}
	if len(block.Labels) != 1 {
		p.wrong(block.TypeRange, "a webhook has one name: webhook \"NAME\" {")
		return
	}

	broken := p.broken(block.Range()) // by the syntax: nothing else was found in it yet
	w := webhookBlock{name: block.Labels[0], origin: fmt.Sprintf("%s:%d", p.path, block.TypeRange.Start.Line)}
	if i := slices.IndexFunc(p.out.webhooks, func(o webhookBlock) bool { return o.name == w.name }); i >= 0 {
		p.wrong(block.TypeRange, "webhook %q is defined twice: the first is at %s", w.name, p.out.webhooks[i].origin)
	}

	var keys []string
	for _, a := range webhookTable {
		keys = append(keys, a.key)
		// What has a format is not signed.
		unsigned := a.key == "secret_file" && block.Body.Attributes["format"] != nil
		if _, ok := block.Body.Attributes[a.key]; a.required && !ok && !broken && !unsigned {
			p.wrong(block.TypeRange, "webhook %q has no %s", w.name, a.key)
		}
	}

	for _, attr := range attributes(block.Body) {
		i := slices.Index(keys, attr.Name)
		if i < 0 {
			p.wrong(attr.NameRange, "unknown setting %q of a webhook, which has %s%s", attr.Name, strings.Join(keys, ", "), terminal.DidYouMean(attr.Name, keys))
			continue
		}
		values, err := decodeSetting(webhookTable[i].kind, attr.Expr)
		if err != nil {
			p.wrong(attr.NameRange, "%s: %v", attr.Name, err)
			continue
		}
		webhookTable[i].set(&w, values)
	}
	for _, inner := range block.Body.Blocks {
		p.wrong(inner.TypeRange, "unknown block %q in a webhook: it has %s", inner.Type, strings.Join(keys, ", "))
	}

	p.out.webhooks = append(p.out.webhooks, w)
}

// webhook reads the secret of a block.
func (c agentCommand) webhook(w *webhookBlock) (node.WebhookDefinition, error) {
	d := node.WebhookDefinition{Name: w.name, URL: w.url, Types: w.types, Pipelines: w.pipelines, Format: w.format}
	if w.format != "" && w.secretFile == "" {
		return d, nil
	}
	if w.secretFile == "" || w.secretFile == "-" {
		return d, usagef("%s: webhook %q: secret_file %q: expected a file", w.origin, w.name, w.secretFile)
	}
	text, err := c.env.readFile(w.secretFile)
	if err != nil {
		return d, usagef("%s: webhook %q: secret_file: %w", w.origin, w.name, err)
	}
	d.Secret = strings.TrimSpace(string(text))
	return d, nil
}

// printWebhooks prints the webhooks as a configuration file has them.
func printWebhooks(out io.Writer, list []webhookBlock) {
	for i := range list {
		w := &list[i]
		types := &setting{kind: kindList}
		text := &setting{kind: kindText}
		fmt.Fprintf(out, "webhook %s { # %s\n  url         = %s\n  types       = %s\n  pipelines   = %s\n  format      = %s\n  secret_file = %s\n}\n", hclValue(text, []string{w.name}), w.origin,
			hclValue(text, []string{w.url}), hclValue(types, w.types), hclValue(types, w.pipelines), hclValue(text, []string{w.format}), hclValue(text, []string{w.secretFile}))
	}
}
