package language

import (
	"slices"
	"strings"
	"unicode"

	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/zclconf/go-cty/cty"

	"github.com/pipelined/pipelined/pipeline"
)

// notifyBlock is the name of the block, and that under which the commands of
// notifications are listed as modules.
const notifyBlock = "notify"

const (
	// maxNotify bounds the notify blocks of a pipeline, maxNotifyMessage the bytes of a
	// message.
	maxNotify, maxNotifyMessage = 16, 2000
	// notifyRule says what a notify block needs.
	notifyRule = `write webhook = "NAME" (pipelined webhooks add NAME URL), or command = ["program", "argument"], or script = "…"`
)

// notify is a notify block. run is the module of one with a command or script.
type notify struct {
	static  pipeline.Notify
	pending []pending[pipeline.Notify]
	message *deferrable
	run     module
}

var (
	// The others are about a process, or may wait until the run is known.
	notifySpecs = map[string]spec[pipeline.Notify]{
		"on": {kind: kindTexts, check: oneOf(pipeline.NotifyStart, pipeline.NotifyFailure, pipeline.NotifySuccess, pipeline.NotifyRecovery),
			checkAll: someEvents, set: func(n *pipeline.Notify, r reading) { n.On = unique(r.texts) }},
		"webhook": {kind: kindText, check: checkWebhookName, set: func(n *pipeline.Notify, r reading) { n.Webhook = r.text }},
	}
	notifyNames = []string{"on", "webhook", "message", "command", "script", "env", "secrets", "timeout"}
)

func someEvents(list []string) *problem {
	if len(list) == 0 {
		return wrong(`write on = ["failure", "recovery"]`, "no event")
	}
	return nil
}

// checkWebhookName is for the name of a webhook of the cluster. An address is a likely
// mistake.
func checkWebhookName(s string) *problem {
	if strings.Contains(s, "/") || strings.Contains(s, ":") {
		return wrong("an admin adds the address to the cluster (pipelined webhooks add NAME URL -format slack), and the pipeline says webhook = \"NAME\"",
			"expected the name of a webhook, not an address")
	}
	if s == "" || len(s) > 63 || strings.ContainsFunc(s, func(c rune) bool { return unicode.IsSpace(c) || unicode.IsControl(c) }) {
		return wrong("it is the name that pipelined webhooks ls shows", "invalid name %s of a webhook", quote(s))
	}
	return nil
}

// startKey is the key of the module that runs the command when the run starts.
func startKey(name string) string { return name + "," + pipeline.NotifyStart }

func (p *parser) notify(b *hclsyntax.Block) {
	name, at, ok := p.label(b, notifyBlock, checkName)
	if !ok {
		return
	}
	for _, other := range p.file.notifies {
		if other.static.Name == name {
			p.add(at, "the first is at "+p.positionText(other.run.at), "second notify %q", name)
		}
	}

	line, _ := p.src.position(b.TypeRange.Start.Byte)
	x := &notify{static: pipeline.Notify{Name: name, On: []string{pipeline.NotifyFailure, pipeline.NotifyRecovery}},
		run: module{at: at, static: pipeline.Module{Of: notifyBlock, Line: line, InputsAll: true, IgnoreFailure: true,
			Timeout: pipeline.DefaultNotifyTimeout, Grace: pipeline.DefaultGrace}}}
	if p.file.notifies = append(p.file.notifies, x); len(p.file.notifies) == maxNotify+1 {
		p.add(at, "one block may have several events", "more than %d notify blocks", maxNotify)
	}

	p.noBlocks(b.Body, notifyBlock, notifyNames)
	p.notifies = true
	defer func() { p.notifies = false }()
	for _, a := range attributes(b.Body) {
		p.notifyAttribute(x, a)
	}
	p.checkNotify(x, b)
}

func (p *parser) notifyAttribute(x *notify, a *hclsyntax.Attribute) {
	switch s, known := notifySpecs[a.Name]; {
	case known:
		x.pending = decodeInto(p, x.pending, &x.static, notifyBlock+"."+a.Name, a.Expr, s, -1)
	case a.Name == "message":
		p.notifyMessage(x, a)
	case a.Name == "command":
		p.command(&x.run, a, -1)
	case a.Name == "script":
		p.script(&x.run, a, -1)
	case a.Name == "env":
		x.run.env = p.environment(a, -1)
	case a.Name == "secrets" || a.Name == "timeout":
		p.moduleAttribute(&x.run, a, -1)
	default:
		p.unknown("attribute", a.Name, a.NameRange, notifyBlock, notifyNames)
	}
}

// checkNotify requires that a block says one thing.
func (p *parser) checkNotify(x *notify, b *hclsyntax.Block) {
	var given []*hclsyntax.Attribute
	for _, a := range attributes(b.Body) {
		if a.Name == "webhook" || a.Name == "command" || a.Name == "script" {
			given = append(given, a)
		}
	}
	switch {
	case len(given) == 0:
		p.absent(b.TypeRange, notifyRule, "notify %q says neither where to nor what to run", x.static.Name)
		return
	case len(given) > 1:
		p.add(given[1].NameRange, "write a notify block for each", "notify %q has both %s and %s", x.static.Name, given[0].Name, given[1].Name)
		return
	}

	for _, a := range attributes(b.Body) {
		only := ""
		switch a.Name {
		case "message":
			only = "webhook"
		case "env", "secrets", "timeout":
			only = "command or script"
		}
		if only != "" && (given[0].Name == "webhook") != (only == "webhook") {
			p.add(a.NameRange, "leave it out", "notify %q: %s has a meaning only beside %s", x.static.Name, a.Name, only)
		}
	}
}

func (p *parser) notifyMessage(x *notify, a *hclsyntax.Attribute) {
	l, constant := p.deferredUse(pipeline.DeferredNotify, a.Expr, false, -1)
	if !constant {
		x.message = l
		return
	}
	if v, ok := literal(p.report, a.Expr); ok {
		x.static.Message = notifyMessageOf(p.report, a.Expr, v)
	}
}

// notifyMessageOf reads what a notification says besides, which may have several lines.
func notifyMessageOf(r *report, expr hclsyntax.Expression, v cty.Value) string {
	text, bad := textOf(v)
	if bad == nil && v.IsKnown() {
		text = strings.TrimSpace(text)
		switch {
		case len(text) > maxNotifyMessage:
			bad = wrong("", "%d bytes are more than %d", len(text), maxNotifyMessage)
		case strings.ContainsFunc(text, func(c rune) bool { return unicode.IsControl(c) && c != '\n' && c != '\t' }):
			bad = wrong("", "control character in the text")
		}
	}
	if bad != nil {
		r.add(expr.Range(), bad.detail, "message: %s", bad.summary)
	}
	return text
}

// notifyUse reports whether an expression of a notify block may name what it names.
func (k *linker) notifyUse(u *use, named []*local) bool {
	module := ""
	if len(u.refs.modules) > 0 {
		module = "module." + u.refs.modules[0].name
	}
	for _, l := range named {
		if len(l.modules) > 0 {
			module = "local." + l.name + ", which waits for modules"
		}
	}
	if module == "" {
		return true
	}
	k.add(u.expr.Range(), "a command finds the modules that failed in the file $PIPELINED_NOTICE, and a message is sent with them",
		"a notify block can name no module, and not %s", module)
	return false
}

// notify adds the notify blocks, and the commands among them as modules. They belong to
// every selection.
func (c *compilation) notify(env map[string]string, deferred map[string]*deferrable) {
	if len(c.file.notifies) == 0 {
		return
	}

	var all []string
	for i := range c.out.Modules {
		m := &c.out.Modules[i]
		if m.Name == notifyBlock || m.Of == notifyBlock {
			c.add(c.file.nameAt, "name the module differently", "a module cannot be named notify beside notify blocks")
			return
		}
		all = append(all, m.Name)
	}
	slices.Sort(all)

	for _, x := range c.file.notifies {
		out := x.static
		for i := range x.pending {
			apply(c, &out, &x.pending[i])
		}
		if l := x.message; l != nil {
			c.notifyMessage(&out, l)
		}
		c.out.Notify = append(c.out.Notify, out)
		if out.Webhook == "" {
			c.notifyModules(x, &out, all, env, deferred)
		}
	}
}

// notifyMessage determines the message, or keeps it for when the run is known.
func (c *compilation) notifyMessage(out *pipeline.Notify, l *deferrable) {
	if !c.unknown(l) {
		if v, ok := c.eval(l.expr); ok {
			out.Message = notifyMessageOf(c.report, l.expr, v)
		}
		return
	}
	var m pipeline.Module
	c.wait(&m, l)
	expr := m.Deferred[l.name]
	out.Deferred, out.Expensive = &expr, m.Expensive
}

// notifyModules adds the modules that run the command of a notify block: one for the
// start, one for the end.
func (c *compilation) notifyModules(x *notify, n *pipeline.Notify, all []string, env map[string]string, deferred map[string]*deferrable) {
	add := func(key string, hook pipeline.Hook, on, needs []string) {
		m := x.run
		m.static.Name, m.static.Key, m.static.Hook, m.static.NotifyOn = pipeline.InstanceName(notifyBlock, key), key, hook, on
		m.static.AlwaysRun, m.static.DependsOn = hook == pipeline.HookNotify, needs
		c.instance(&m, &instance{}, env, deferred)
	}
	rest := slices.DeleteFunc(slices.Clone(n.On), func(s string) bool { return s == pipeline.NotifyStart })
	if len(rest) < len(n.On) {
		add(startKey(n.Name), pipeline.HookNotifyStart, []string{pipeline.NotifyStart}, nil)
	}
	if len(rest) > 0 {
		add(n.Name, pipeline.HookNotify, rest, all)
	}
}
