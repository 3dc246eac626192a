package convert

import (
	"cmp"
	"maps"
	"slices"
	"strings"

	"github.com/rhysd/actionlint"
)

// inContainer reports whether the steps run in a container.
func (j *job) inContainer() bool { return j.src.Container != nil && j.src.Container.Image != nil }

// plainShell reports whether the steps run with sh, as GitHub runs them in a container if
// they name no other: the image need not have bash.
func (j *job) plainShell() bool {
	return j.inContainer() && !slices.ContainsFunc(j.src.Steps, func(st *actionlint.Step) bool {
		switch e := st.Exec.(type) {
		case *actionlint.ExecRun:
			return strings.HasPrefix(j.shell(e), "bash")
		case *actionlint.ExecAction:
			return commands[actionName(e)].program != ""
		}
		return false
	})
}

// container converts the container of a job.
func (j *job) container(s *scope, b *body) {
	c := j.src.Container
	if !j.inContainer() {
		return
	}
	image, err := s.literal(c.Image.Value)
	if err != nil {
		s.note(c.Pos, "container", err)
		j.blocked = true // on the worker it may do anything
		return
	}
	b.attr("image", image)
	if c.Credentials != nil {
		j.w.note(j, c.Credentials.Pos, "credentials of the container", "registry_auth names a secret with USER:PASSWORD")
	}
	if c.Volumes != nil {
		j.w.note(j, c.Pos, "volumes of the container", "it has the directories of the module and its caches")
	}
	if c.Options != nil {
		j.w.note(j, c.Options.Pos, "options of the container: "+c.Options.Value, "resources bound it")
	}
}

// services converts what runs beside a job in a container, which reaches it by name there
// and here.
func (j *job) services(s *scope, b *body) {
	sv := j.src.Services
	if sv == nil {
		return
	}
	if sv.Value == nil || !j.inContainer() {
		j.w.note(j, sv.Pos, "services", "a module with an image has service blocks, and reaches each by its name, not at localhost")
		return
	}
	list := slices.SortedFunc(maps.Values(sv.Value), func(x, y *actionlint.Service) int { return cmp.Compare(x.Name.Pos.Line, y.Name.Pos.Line) })
	for _, one := range list {
		j.service(s, b, one)
	}
}

func (j *job) service(s *scope, b *body, one *actionlint.Service) {
	name, c := one.Name.Value, one.Container
	if c == nil || c.Image == nil {
		return
	}
	if notInHosts(name) {
		j.w.note(j, one.Name.Pos, "service "+name, "the name of a service has small letters, digits and -")
		return
	}
	image, err := s.literal(c.Image.Value)
	if err != nil {
		s.note(c.Pos, "service "+name, err)
		return
	}

	inner := &body{}
	inner.attr("image", image)
	var env []pair
	for _, v := range sortedEnv(c.Env) {
		expr, err := s.literal(v.Value.Value)
		if err != nil {
			s.note(v.Name.Pos, "service "+name+": env."+v.Name.Value, err)
			continue
		}
		env = append(env, pair{v.Name.Value, expr})
	}
	inner.attr("env", object(env))
	if c.Options != nil {
		health, rest := healthOption(c.Options.Value)
		if health != "" {
			inner.attr("health", `"`+quoted(health)+`"`)
		}
		if rest != "" {
			j.w.note(j, c.Options.Pos, "service "+name+": options "+rest, "a service has image, command, env, health and health_timeout")
		}
	}
	if c.Credentials != nil {
		j.w.note(j, c.Credentials.Pos, "service "+name+": credentials", "registry_auth of the module counts for images of the same registry")
	}
	if c.Volumes != nil {
		j.w.note(j, c.Pos, "service "+name+": volumes", "a service has no directory of the machine")
	}
	b.block("service "+quote(name), inner)
}

// notInHosts reports whether a text cannot be the name of a service.
func notInHosts(name string) bool {
	return name == "" || len(name) > 63 || name[0] == '-' || strings.ContainsFunc(name, func(r rune) bool { return r != '-' && (r < '0' || r > '9') && (r < 'a' || r > 'z') })
}

// healthOption takes the health check out of options of docker run. How often it is tried
// has no counterpart, and needs none.
func healthOption(options string) (health, rest string) {
	var left []string
	words := shellWords(options)
	for i := 0; i < len(words); i++ {
		name, value, has := strings.Cut(words[i], "=")
		if strings.HasPrefix(name, "--health-") && !has && i+1 < len(words) {
			i++
			value = words[i]
		}
		switch name {
		case "--health-cmd":
			health = value
		case "--health-interval", "--health-timeout", "--health-retries", "--health-start-period":
		default:
			left = append(left, words[i])
		}
	}
	return health, strings.Join(left, " ")
}
