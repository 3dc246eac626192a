package language

import (
	"maps"
	"path"
	"slices"
	"strings"
	"unicode"

	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/zclconf/go-cty/cty"

	"github.com/pipelined/pipelined/pipeline"
)

// maxApprovalMessage bounds what an approval asks, in bytes: it is shown as a reason.
const maxApprovalMessage = 1000

var (
	// The message may wait for results and is read by itself.
	approvalSpecs = map[string]spec[pipeline.Module]{
		"approvers":  {kind: kindTexts, check: checkApprover, set: func(m *pipeline.Module, r reading) { m.Approval.Approvers = unique(r.texts) }},
		"timeout":    {kind: kindDuration, zero: "no timeout", set: func(m *pipeline.Module, r reading) { m.Approval.Timeout = r.duration }},
		"on_timeout": {kind: kindText, check: oneOf(pipeline.TimeoutReject, pipeline.TimeoutApprove, pipeline.TimeoutSkip), set: func(m *pipeline.Module, r reading) { m.Approval.OnTimeout = r.text }},
	}
	approvalNames = append([]string{"message"}, slices.Sorted(maps.Keys(approvalSpecs))...)

	// besideApproval are the attributes of a module that waits for a person; the
	// others are about a process, and it has none.
	besideApproval = set("description", "tags", "depends_on", "optional_depends_on", "when", "matrix", "for_each", "use", "always_run", "run_if", "ignore_failure")
)

// approvalOf finds the approval block of a module; nil if it has none.
func approvalOf(body *hclsyntax.Body) *hclsyntax.Block {
	for _, b := range body.Blocks {
		if b.Type == "approval" {
			return b
		}
	}
	return nil
}

// approval decodes the approval block of a module and makes of it one that runs
// nothing.
func (p *parser) approval(m *module, b *hclsyntax.Block, body *hclsyntax.Body, index int) {
	s := &m.static
	s.Approval = &pipeline.Approval{Timeout: pipeline.DefaultApprovalTimeout}
	s.Timeout, s.Grace, s.InputsAll = 0, 0, false

	for _, a := range attributes(body) {
		if slices.Contains(moduleNamesAll, a.Name) && !besideApproval[a.Name] {
			p.add(a.NameRange, "put what is to be run into a module of its own that depends on this one",
				"module %q waits for an approval and runs nothing: %s has no meaning in it", s.Name, a.Name)
		}
	}

	for _, inner := range body.Blocks {
		if inner.Type != "approval" && slices.Contains(moduleNamesAll, inner.Type) {
			p.add(inner.TypeRange, "", "module %q waits for an approval and runs nothing: %s has no meaning in it", s.Name, inner.Type)
		}
	}

	p.noBlocks(b.Body, "approval", approvalNames)

	for _, a := range attributes(b.Body) {
		x, known := approvalSpecs[a.Name]
		switch {
		case a.Name == "message":
			p.approvalMessage(m, a, index)
		case known:
			m.pending = decodeInto(p, m.pending, s, a.Name, a.Expr, x, index)
		default:
			p.unknown("attribute", a.Name, a.NameRange, "approval", approvalNames)
		}
	}

	if _, given := b.Body.Attributes["message"]; !given {
		p.absent(b.TypeRange, `write what is asked: message = "Deploy to production?"`, "approval without message")
	}
}

func (p *parser) approvalMessage(m *module, a *hclsyntax.Attribute, index int) {
	l, constant := p.deferredUse(pipeline.DeferredMessage, a.Expr, false, index)
	if !constant {
		m.message = l
		return
	}
	if v, ok := literal(p.report, a.Expr); ok {
		m.static.Approval.Message = messageOf(p.report, a.Expr, v)
	}
}

// messageOf reads what an approval asks, as one line.
func messageOf(r *report, expr hclsyntax.Expression, v cty.Value) string {
	text, bad := textOf(v)
	if bad == nil && v.IsKnown() {
		text = strings.Join(strings.Fields(text), " ")
		switch {
		case text == "":
			bad = wrong(`write what is asked: message = "Deploy to production?"`, "empty text")
		case len(text) > maxApprovalMessage:
			bad = wrong("", "%d bytes are more than %d", len(text), maxApprovalMessage)
		case strings.ContainsFunc(text, unicode.IsControl):
			bad = wrong("", "control character in the text")
		}
	}

	if bad != nil {
		r.add(expr.Range(), bad.detail, "message: %s", bad.summary)
	}

	return text
}

// checkApprover checks the pattern of a name that may decide, in which *
// matches anything.
func checkApprover(s string) *problem {
	if s == "" || len(s) > 128 || strings.ContainsFunc(s, unicode.IsControl) {
		return wrong("it has from 1 to 128 characters", "invalid name %s", quote(s))
	}
	if _, err := path.Match(s, ""); err != nil {
		return wrong("in a name * stands for anything, and [ needs its ]", "invalid pattern %s", quote(s))
	}
	return nil
}

// approval determines the message of one instance's approval.
func (c *compilation) approval(m *module, out *pipeline.Module) {
	if l := m.message; l != nil {
		if c.deferred(l) {
			c.wait(out, l)
		} else if v, ok := c.eval(l.expr); ok {
			out.Approval.Message = messageOf(c.report, l.expr, v)
		}
	}
}

// ownApproval copies an instance's approval, so that it shares it with no other
// instance.
func ownApproval(m *pipeline.Module) {
	if m.Approval != nil {
		own := *m.Approval
		m.Approval = &own
	}
}
