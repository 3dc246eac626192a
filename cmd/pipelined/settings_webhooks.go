package main

import (
	"fmt"
	"io"
	"strings"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/gohcl"
	"github.com/hashicorp/hcl/v2/hclsyntax"

	"github.com/pipelined/pipelined/internal/node"
)

// webhookBlock is a block of a configuration file: a webhook of the cluster.
type webhookBlock struct {
	URL        string   `hcl:"url"`
	Types      []string `hcl:"types,optional"`
	Pipelines  []string `hcl:"pipelines,optional"`
	SecretFile string   `hcl:"secret_file"`

	name   string
	origin string // FILE:LINE
}

// splitWebhooks takes the blocks of webhooks out of a configuration file.
func splitWebhooks(body *hclsyntax.Body) ([]webhookBlock, *hclsyntax.Body, error) {
	rest := &hclsyntax.Body{Attributes: body.Attributes, SrcRange: body.SrcRange, EndRange: body.EndRange}
	var list []webhookBlock
	for _, block := range body.Blocks {
		if block.Type != "webhook" {
			rest.Blocks = append(rest.Blocks, block)
			continue
		}

		at := block.TypeRange
		place := fmt.Sprintf("%s:%d:%d", at.Filename, at.Start.Line, at.Start.Column)
		if len(block.Labels) != 1 {
			return nil, nil, usagef("%s: a webhook has one name: webhook \"NAME\" {", place)
		}
		w := webhookBlock{name: block.Labels[0], origin: fmt.Sprintf("%s:%d", at.Filename, at.Start.Line)}
		for i := range list {
			if list[i].name == w.name {
				return nil, nil, usagef("%s: webhook %q is defined twice", place, w.name)
			}
		}
		if diags := gohcl.DecodeBody(hcl.Body(block.Body), nil, &w); diags.HasErrors() {
			return nil, nil, configError(diags)
		}
		list = append(list, w)
	}
	return list, rest, nil
}

// webhook reads the secret of a block.
func (c agentCommand) webhook(w *webhookBlock) (node.WebhookDefinition, error) {
	d := node.WebhookDefinition{Name: w.name, URL: w.URL, Types: w.Types, Pipelines: w.Pipelines}
	if w.SecretFile == "" || w.SecretFile == "-" {
		return d, usagef("%s: webhook %q: secret_file %q: expected a file", w.origin, w.name, w.SecretFile)
	}
	text, err := c.env.readFile(w.SecretFile)
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
		fmt.Fprintf(out, "webhook %s { # %s\n  url         = %s\n  types       = %s\n  pipelines   = %s\n  secret_file = %s\n}\n", hclValue(text, []string{w.name}), w.origin,
			hclValue(text, []string{w.URL}), hclValue(types, w.Types), hclValue(types, w.Pipelines), hclValue(text, []string{w.SecretFile}))
	}
}
