package language

import (
	"cmp"
	"maps"
	"slices"

	"github.com/hashicorp/hcl/v2/hclsyntax"

	"github.com/pipelined/pipelined/pipeline"
)

// serviceBlock is the name of the block of a container beside a module's.
const serviceBlock = "service"

// serviceSpecs are the attributes of a service of the given name. Its env is an object
// and is read by itself.
func serviceSpecs(name string) map[string]spec[pipeline.Module] {
	one := func(set func(*pipeline.Service, reading)) func(*pipeline.Module, reading) {
		return func(m *pipeline.Module, r reading) {
			list := m.Container.Services
			if i := slices.IndexFunc(list, func(s pipeline.Service) bool { return s.Name == name }); i >= 0 {
				set(&list[i], r)
			}
		}
	}
	return map[string]spec[pipeline.Module]{
		"image":          {kind: kindText, check: checkImage, set: one(func(s *pipeline.Service, r reading) { s.Image = r.text })},
		"command":        {kind: kindTexts, check: checkArgument, set: one(func(s *pipeline.Service, r reading) { s.Command = r.texts })},
		"health":         {kind: kindText, check: checkScript, script: true, set: one(func(s *pipeline.Service, r reading) { s.Health = r.text })},
		"health_timeout": {kind: kindDuration, set: one(func(s *pipeline.Service, r reading) { s.HealthTimeout = r.duration })},
	}
}

var serviceNames = append([]string{"env"}, slices.Sorted(maps.Keys(serviceSpecs("")))...)

// imageRule is how images are named.
const imageRule = `write it as for docker pull, such as "golang:1.26" or "registry.example/team/tool@sha256:…"`

// checkImage is for the name of an image.
func checkImage(s string) *problem {
	ok := s != "" && len(s) <= 512
	for i, c := range []byte(s) {
		letter := 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9'
		mark := c == '.' || c == '_' || c == '-' || c == '/' || c == ':' || c == '@'
		ok = ok && (letter || mark && i > 0)
	}
	if !ok {
		return wrong(imageRule, "invalid image %s", quote(s))
	}
	return nil
}

// service decodes a service block of a module.
func (p *parser) service(m *module, b *hclsyntax.Block, index int) {
	name, at, ok := p.label(b, serviceBlock, checkServiceName)
	if !ok {
		return
	}
	services := &m.static.Container.Services
	if slices.ContainsFunc(*services, func(s pipeline.Service) bool { return s.Name == name }) {
		p.add(at, "", "second service %q", name)
		return
	}
	*services = append(*services, pipeline.Service{Name: name, HealthTimeout: pipeline.DefaultHealthTimeout})

	p.noBlocks(b.Body, serviceBlock, serviceNames)
	specs := serviceSpecs(name)
	for _, a := range attributes(b.Body) {
		s, known := specs[a.Name]
		switch {
		case known:
			m.pending = decodeInto(p, m.pending, &m.static, serviceBlock+"."+a.Name, a.Expr, s, index)
		case a.Name == "env":
			p.serviceEnv(m, name, a, index)
		default:
			p.unknown("attribute", a.Name, a.NameRange, serviceBlock, serviceNames)
		}
	}
	if _, given := b.Body.Attributes["image"]; !given {
		p.absent(b.TypeRange, `write which: image = "postgres:18"`, "service %q without image", name)
	}
}

// checkServiceName is for a name that is found in a network.
func checkServiceName(s string) *problem {
	ok := s != "" && len(s) <= 63 && s[0] != '-'
	for _, c := range []byte(s) {
		ok = ok && (c == '-' || '0' <= c && c <= '9' || 'a' <= c && c <= 'z')
	}
	if !ok {
		return wrong("the module reaches it by this name: it has small letters, digits and -, and at most 63 of them", "invalid name %s of a service", quote(s))
	}
	return nil
}

// serviceEnv decodes env = { NAME = value } of a service.
func (p *parser) serviceEnv(m *module, service string, a *hclsyntax.Attribute, index int) {
	object, ok := a.Expr.(*hclsyntax.ObjectConsExpr)
	if !ok {
		p.absent(a.Expr.Range(), `write env = { NAME = "value" }`, "env of a service is an object that is written out")
		return
	}
	for _, item := range object.Items {
		key, ok := literalKey(item.KeyExpr)
		if !ok {
			p.add(item.KeyExpr.Range(), `write env = { NAME = "value" }`, "a name in env of a service is written out")
			continue
		}
		if bad := checkEnvName(key); bad != nil {
			p.add(item.KeyExpr.Range(), bad.detail, "env: %s", bad.summary)
			continue
		}
		s := spec[pipeline.Module]{kind: kindText, check: checkArgument, set: func(m *pipeline.Module, r reading) {
			list := m.Container.Services
			i := slices.IndexFunc(list, func(s pipeline.Service) bool { return s.Name == service })
			if list[i].Env == nil {
				list[i].Env = map[string]string{}
			}
			list[i].Env[key] = r.text
		}}
		m.pending = decodeInto(p, m.pending, &m.static, serviceBlock+".env."+key, item.ValueExpr, s, index)
	}
}

// checkContainer refuses what has a meaning only beside an image.
func (p *parser) checkContainer(body *hclsyntax.Body) {
	if body.Attributes["image"] != nil {
		return
	}
	const detail = `write image = "…" beside it, or leave it out`
	for _, name := range []string{"pull", "registry_auth"} {
		if a := body.Attributes[name]; a != nil {
			p.add(a.NameRange, detail, "%s without image", name)
		}
	}
	for _, b := range body.Blocks {
		if b.Type == serviceBlock {
			p.absent(b.TypeRange, detail, "a service beside a module without image")
			return
		}
	}
}

// checkRegistryAuth refuses to show the module the secret that only the engine gets.
func (c *compilation) checkRegistryAuth(m *module, out *pipeline.Module) {
	name := out.Container.RegistryAuth
	if name == "" || !slices.Contains(out.Secrets, name) {
		return
	}
	c.add(*cmp.Or(m.secretsAt, &m.at), "the engine gets the secret of registry_auth, and the module does not: leave it out of secrets, or set the module's own under another name",
		"secret %s is named in both registry_auth and secrets", quote(name))
}

// ownServices copies an instance's services, so that it shares them with no other
// instance.
func ownServices(m *pipeline.Module) {
	m.Container.Services = slices.Clone(m.Container.Services)
	for i := range m.Container.Services {
		s := &m.Container.Services[i]
		s.Env = maps.Clone(s.Env)
	}
}
