package language

import (
	"fmt"
	"math/big"
	"slices"
	"time"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/zclconf/go-cty/cty"
	"github.com/zclconf/go-cty/cty/convert"

	"github.com/pipelined/pipelined/pipeline"
)

// kind is what the value of an attribute is read as.
type kind int

const (
	kindText     kind = iota
	kindTexts         // list of texts
	kindNumber        // whole number
	kindNumbers       // list of whole numbers
	kindDuration      // text in Go's syntax
	kindFlag          // true or false
	kindCounts        // list of texts, or object of whole numbers
)

// reading is a value as its kind reads it.
type reading struct {
	text     string
	texts    []string
	number   int
	numbers  []int
	counts   map[string]int // without those of a list, which are 1
	duration time.Duration
	flag     bool
}

// spec says how an attribute is read, checked and kept. T is what it is kept
// in.
type spec[T any] struct {
	kind kind
	// check looks at a text, or at each of a list.
	check func(string) *problem
	// checkAll looks at a list of texts that check accepts.
	checkAll func([]string) *problem
	// script marks text for a shell, whose own ${} has to be escaped.
	script bool
	// alone accepts a single text as a list of it.
	alone bool
	// low and high bound a number, or each of a list.
	low, high int
	// zero says what the duration "0" is for; "" refuses it.
	zero string
	set  func(*T, reading)
}

// The attributes that are known at submission. Those that need more than a spec
// (command, script, env, depends_on, requires, hooks) are in module.go.
var (
	pipelineSpecs = map[string]spec[pipeline.Pipeline]{
		"description":  {kind: kindText, check: checkText, set: func(p *pipeline.Pipeline, r reading) { p.Description = r.text }},
		"tags":         {kind: kindTexts, check: checkWord, set: func(p *pipeline.Pipeline, r reading) { p.Tags = unique(r.texts) }},
		"max_parallel": {kind: kindNumber, low: 1, high: 1_000_000, set: func(p *pipeline.Pipeline, r reading) { p.MaxParallel = r.number }},
		"shell":        {kind: kindText, check: oneOf(shellSh, shellBash), set: func(p *pipeline.Pipeline, r reading) { p.Shell = r.text }},
		"on_failure":   {kind: kindText, check: oneOf(pipeline.OnFailureStop, pipeline.OnFailureCancel, pipeline.OnFailureContinue), set: func(p *pipeline.Pipeline, r reading) { p.OnFailure = r.text }},
		"timeout":      {kind: kindDuration, zero: "no timeout", set: func(p *pipeline.Pipeline, r reading) { p.Timeout = r.duration }},
	}

	moduleSpecs = map[string]spec[pipeline.Module]{
		"description": {kind: kindText, check: checkText, set: func(m *pipeline.Module, r reading) { m.Description = r.text }},
		"tags":        {kind: kindTexts, check: checkWord, set: func(m *pipeline.Module, r reading) { m.Tags = unique(r.texts) }},
		"inputs": {kind: kindTexts, check: checkGlob, checkAll: checkGlobs, set: func(m *pipeline.Module, r reading) {
			m.Inputs, m.InputsAll = globs(r.texts), false
		}},
		"outputs":          {kind: kindTexts, check: checkGlob, checkAll: checkGlobs, set: func(m *pipeline.Module, r reading) { m.Outputs = globs(r.texts) }},
		"outputs_optional": {kind: kindTexts, check: checkGlob, checkAll: checkGlobs, set: func(m *pipeline.Module, r reading) { m.OutputsOptional = globs(r.texts) }},
		"timeout":          {kind: kindDuration, zero: "no timeout", set: func(m *pipeline.Module, r reading) { m.Timeout = r.duration }},
		"grace":            {kind: kindDuration, set: func(m *pipeline.Module, r reading) { m.Grace = r.duration }},
		"caches":           {kind: kindTexts, check: checkName, set: func(m *pipeline.Module, r reading) { m.Caches = unique(r.texts) }},
		"working_dir":      {kind: kindText, check: checkPath, set: func(m *pipeline.Module, r reading) { m.WorkingDir = cleanPath(r.text) }},
		"layout":           {kind: kindText, check: oneOf("by-module"), set: func(m *pipeline.Module, r reading) { m.Layout = r.text }},
		"shell":            {kind: kindText, check: oneOf(shellSh, shellBash), set: func(m *pipeline.Module, r reading) { m.Shell = r.text }},
		"always_run":       {kind: kindFlag, set: func(m *pipeline.Module, r reading) { m.AlwaysRun = r.flag }},
		"run_if": {kind: kindText, check: oneOf(pipeline.RunIfSucceeded, pipeline.RunIfNotFailed), set: func(m *pipeline.Module, r reading) {
			if m.RunIf = r.text; r.text == pipeline.RunIfSucceeded {
				m.RunIf = ""
			}
		}},
		"ignore_failure":  {kind: kindFlag, set: func(m *pipeline.Module, r reading) { m.IgnoreFailure = r.flag }},
		"max_parallel":    {kind: kindNumber, low: 1, high: 1_000_000, set: func(m *pipeline.Module, r reading) { m.MaxParallel = r.number }},
		"priority":        {kind: kindNumber, low: -1000, high: 1000, set: func(m *pipeline.Module, r reading) { m.Priority = r.number }},
		"not_in_parallel": {kind: kindCounts, check: checkWord, checkAll: tooManyLocks, low: 1, high: pipeline.MaxLockHolders, set: setLocks},
		"on_disconnect":   {kind: kindText, check: oneOf(pipeline.DisconnectKeep, pipeline.DisconnectKill), set: func(m *pipeline.Module, r reading) { m.OnDisconnect = r.text }},
		"on_lost":         {kind: kindText, check: oneOf(pipeline.LostRerun, pipeline.LostFail), set: func(m *pipeline.Module, r reading) { m.OnLost = r.text }},
		"secrets":         {kind: kindTexts, check: checkSecretName, set: func(m *pipeline.Module, r reading) { m.Secrets = unique(r.texts) }},
		"cache":           {kind: kindFlag, set: func(m *pipeline.Module, r reading) { m.Cache = r.flag }},
		"idle_timeout":    {kind: kindDuration, zero: "no limit", set: func(m *pipeline.Module, r reading) { m.IdleTimeout = r.duration }},
		"image": {kind: kindText, check: checkImage, set: func(m *pipeline.Module, r reading) {
			m.Container.Image, m.Requires.Engine = r.text, true
		}},
		"pull":          {kind: kindText, check: oneOf(pipeline.PullMissing, pipeline.PullAlways, pipeline.PullNever), set: func(m *pipeline.Module, r reading) { m.Container.Pull = r.text }},
		"registry_auth": {kind: kindText, check: checkSecretName, set: func(m *pipeline.Module, r reading) { m.Container.RegistryAuth = r.text }},
	}

	retrySpecs = map[string]spec[pipeline.Module]{
		"attempts":    {kind: kindNumber, low: 1, high: 1000, set: func(m *pipeline.Module, r reading) { m.Retry.Attempts = r.number }},
		"backoff":     {kind: kindDuration, set: func(m *pipeline.Module, r reading) { m.Retry.Backoff = r.duration }},
		"max_backoff": {kind: kindDuration, set: func(m *pipeline.Module, r reading) { m.Retry.MaxBackoff = r.duration }},
		"exit_codes":  {kind: kindNumbers, low: 1, high: 255, set: func(m *pipeline.Module, r reading) { m.Retry.ExitCodes = r.numbers }},
	}

	reportSpecs = map[string]spec[pipeline.Module]{
		"junit": {kind: kindTexts, check: checkGlob, checkAll: checkGlobs, set: func(m *pipeline.Module, r reading) { m.Reports.JUnit = globs(r.texts) }},
	}

	requiresSpecs = map[string]spec[pipeline.Module]{
		"os":    {kind: kindText, check: checkWord, set: func(m *pipeline.Module, r reading) { m.Requires.OS = r.text }},
		"arch":  {kind: kindText, check: checkWord, set: func(m *pipeline.Module, r reading) { m.Requires.Arch = r.text }},
		"tools": {kind: kindTexts, check: checkWord, set: func(m *pipeline.Module, r reading) { m.Requires.Tools = unique(r.texts) }},
		"tags":  {kind: kindTexts, check: checkWord, set: func(m *pipeline.Module, r reading) { m.Requires.Tags = unique(r.texts) }},
	}

	resourceSpecs = map[string]spec[pipeline.Module]{
		"cpu":    {kind: kindText, check: checkCPU, set: func(m *pipeline.Module, r reading) { m.Resources.CPU, _ = parseCPU(r.text) }},
		"memory": {kind: kindText, check: checkMemory, set: func(m *pipeline.Module, r reading) { m.Resources.Memory, _ = parseMemory(r.text) }},
	}

	workspaceSpecs = map[string]spec[Workspace]{
		"root":    {kind: kindText, check: checkRoot, set: func(w *Workspace, r reading) { w.Root = r.text }},
		"exclude": {kind: kindTexts, check: checkGlob, checkAll: checkGlobs, set: func(w *Workspace, r reading) { w.Exclude = globs(r.texts) }},
	}
)

func unique(list []string) []string {
	seen, out := map[string]bool{}, list[:0:0]
	for _, s := range list {
		if !seen[s] {
			seen[s] = true
			out = append(out, s)
		}
	}
	return out
}

func globs(list []string) []string {
	out := make([]string, len(list))
	for i, s := range list {
		out[i] = cleanGlob(s)
	}
	if slices.ContainsFunc(out, func(s string) bool { return s[0] == '!' }) {
		return out // the order decides, so that the same twice means something
	}
	return unique(out)
}

// read converts a value to what the spec expects and records what is wrong.
// name is the attribute's, for messages. An unknown value, whose reason was
// reported earlier, yields no reading and no report.
func (s *spec[T]) read(r *report, name string, expr hclsyntax.Expression, v cty.Value) (reading, bool) {
	var out reading
	switch s.kind {
	case kindCounts:
		if t := v.Type(); !v.IsNull() && (t.IsObjectType() || t.IsMapType()) {
			return s.counts(r, name, expr, v)
		}
		fallthrough
	case kindTexts, kindNumbers:
		if s.alone && v.Type() == cty.String && !v.IsNull() {
			one, ok := s.one(r, name, expr.Range(), v)
			out.texts = []string{one.text}
			return out, ok
		}

		elements, ok := elementsOf(r, name, expr, v)
		if !ok {
			return out, false
		}

		if len(elements) > maxPatterns {
			r.add(expr.Range(), "", "%s has more than %d elements", name, maxPatterns)
			return out, false
		}

		all := true
		for i, e := range elements {
			one, ok := s.one(r, fmt.Sprintf("%s[%d]", name, i), elementRange(expr, i), e)
			out.texts, out.numbers = append(out.texts, one.text), append(out.numbers, one.number)
			all = all && ok
		}

		if s.checkAll != nil && all {
			if p := s.checkAll(out.texts); p != nil {
				r.add(elementRange(expr, 0), p.detail, "%s: %s", name, p.summary)
				return out, false
			}
		}

		return out, all
	}

	return s.one(r, name, expr.Range(), v)
}

// one reads a single text, number or duration.
func (s *spec[T]) one(r *report, name string, at hcl.Range, v cty.Value) (reading, bool) {
	var out reading
	var p *problem
	switch s.kind {
	case kindNumber, kindNumbers:
		out.number, p = wholeNumber(v, s.low, s.high)
	case kindFlag:
		if out.flag, p = flagOf(v); p != nil && name == "cache" {
			p.detail = cachesHint
		}
	default:
		out.text, p = textOf(v)
		if p == nil && v.IsKnown() {
			if s.kind == kindDuration {
				out.duration, p = parseDuration(out.text, s.zero)
			} else if s.check != nil {
				p = s.check(out.text)
			}
		}
	}

	if p != nil {
		r.add(at, p.detail, "%s: %s", name, p.summary)
	}

	return out, p == nil && v.IsKnown()
}

// cachesHint tells two attributes apart.
const cachesHint = `cache = true takes the recorded result of the same work; caches = ["go"] keeps directories between runs, below $PIPELINED_CACHE`

// textOf converts a value to text, as templates do.
func textOf(v cty.Value) (string, *problem) {
	switch {
	case !v.IsKnown():
		return "", nil
	case v.IsNull():
		return "", wrong("leave the attribute out, or give a value", "value is null")
	}

	if t := v.Type(); t == cty.String {
		return v.AsString(), nil
	}

	text, err := convert.Convert(v, cty.String)
	if err != nil || !text.IsKnown() || text.IsNull() {
		return "", wrong("", "expected a string, got %s", friendly(v))
	}

	return text.AsString(), nil
}

// flagOf reads true or false.
func flagOf(v cty.Value) (bool, *problem) {
	switch {
	case !v.IsKnown():
		return false, nil
	case v.IsNull():
		return false, wrong("write true or false", "value is null")
	}
	b, err := convert.Convert(v, cty.Bool)
	if err != nil || !b.IsKnown() || b.IsNull() {
		return false, wrong("write true or false", "expected true or false, got %s", friendly(v))
	}
	return b.True(), nil
}

func wholeNumber(v cty.Value, low, high int) (int, *problem) {
	if !v.IsKnown() {
		return 0, nil
	}

	rule := fmt.Sprintf("write a whole number from %d to %d", low, high)
	if v.IsNull() {
		return 0, wrong(rule, "value is null")
	}

	n, err := convert.Convert(v, cty.Number)
	if err != nil || !n.IsKnown() {
		return 0, wrong(rule, "expected a number, got %s", friendly(v))
	}

	i, accuracy := n.AsBigFloat().Int64()
	if accuracy != big.Exact || i < int64(low) || i > int64(high) {
		return 0, wrong(rule, "number out of range")
	}

	return int(i), nil
}

// elementsOf returns the elements of a list, tuple or set.
func elementsOf(r *report, name string, expr hclsyntax.Expression, v cty.Value) ([]cty.Value, bool) {
	switch {
	case !v.IsKnown():
		return nil, false
	case v.IsNull():
		r.add(expr.Range(), "leave the attribute out, or give a list", "%s is null", name)
		return nil, false
	}

	if t := v.Type(); !t.IsListType() && !t.IsTupleType() && !t.IsSetType() {
		detail := "write a list: [ … ]"
		switch {
		case name == "caches":
			detail = cachesHint
		case t != cty.String:
		case name == "command" && constantExpr(expr):
			detail = splitCommand(v.AsString())
		default:
			detail = fmt.Sprintf("write [%.60s]", quoteHCL(v.AsString()))
		}
		r.add(expr.Range(), detail, "%s: expected a list, got %s", name, friendly(v))
		return nil, false
	}

	return v.AsValueSlice(), true
}

// quoteHCL writes a text as a literal if it is short; "…" else.
func quoteHCL(s string) string {
	if len(s) > 40 {
		return "…"
	}
	return fmt.Sprintf("%q", s)
}

// elementRange is the place of the i-th element of a list that is written out,
// else that of the whole expression.
func elementRange(expr hclsyntax.Expression, i int) hcl.Range {
	if t, ok := expr.(*hclsyntax.TupleConsExpr); ok && i < len(t.Exprs) {
		return t.Exprs[i].Range()
	}
	return expr.Range()
}

// friendly names a value's type for a user.
func friendly(v cty.Value) string {
	switch t := v.Type(); {
	case v.IsNull():
		return "null"
	case t == cty.String:
		return "a string"
	case t == cty.Bool:
		return "true or false"
	case t.IsTupleType(), t.IsListType(), t.IsSetType():
		return "a list"
	case t.IsObjectType(), t.IsMapType():
		return "an object"
	default:
		return "a " + t.FriendlyName()
	}
}
