package language

import (
	"maps"
	"path"
	"slices"
	"strings"

	"github.com/hashicorp/hcl/v2/hclsyntax"

	"github.com/pipelined/pipelined/pipeline"
)

// A variable of env_from that looks like a credential comes along only if it is
// named exactly, and is then treated as a sensitive variable of the pipeline: its
// value is in the scope, which is sealed, and the module's environment is evaluated
// at dispatch.

// credentialPrefix begins the names of credentials among the variables of a scope.
// No declared variable has such a name.
const credentialPrefix = "env."

// taken adds the variables that env_from names to those of the pipeline. It does not
// change the maps passed to it.
func (c *compilation) taken(m *module, env map[string]string, deferred map[string]*deferrable) (map[string]string, map[string]*deferrable) {
	patterns := append(slices.Clone(c.file.envFrom), m.envFrom...)
	if len(patterns) == 0 {
		return env, deferred
	}

	out, later := map[string]string{}, maps.Clone(deferred)
	for name, value := range c.in.Env {
		if checkEnvName(name) != nil || !MatchesEnv(patterns, name) {
			continue
		}
		if _, own := env[name]; own || later["env."+name] != nil {
			continue // the pipeline's env wins
		}
		if !pipeline.CredentialName(name) {
			out[name] = value
			continue
		}

		if later == nil {
			later = map[string]*deferrable{}
		}
		if c.credentials == nil {
			c.credentials = map[string]bool{}
		}
		c.credentials[name] = true
		later["env."+name] = &deferrable{name: "env." + name, sensitive: true, refs: &references{},
			expr: &hclsyntax.LiteralValueExpr{SrcRange: m.at}, text: pipeline.DeferredExpr{Source: `var["` + credentialPrefix + name + `"]`}}
	}

	maps.Copy(out, env)
	return out, later
}

// MatchesEnv reports whether a variable's name matches one of the patterns of
// env_from, in which * matches anything. A name that looks like a credential matches
// itself only.
func MatchesEnv(patterns []string, name string) bool {
	if pipeline.CredentialName(name) {
		return slices.Contains(patterns, name)
	}

	return slices.ContainsFunc(patterns, func(p string) bool { return matchesPattern(p, name) })
}

// WithholdsEnv reports whether a variable's name matches a pattern of env_from and
// is left out all the same, because it looks like a credential.
func WithholdsEnv(patterns []string, name string) bool {
	return !MatchesEnv(patterns, name) && slices.ContainsFunc(patterns, func(p string) bool { return matchesPattern(p, name) })
}

func matchesPattern(pattern, name string) bool {
	ok, err := path.Match(pattern, name)

	return err == nil && ok
}

// Credentials names the variables of the environment in a scope that look like
// credentials, sorted.
func Credentials(scope *pipeline.Scope) (names []string) {
	for _, name := range scope.Sensitive {
		if credential, ok := strings.CutPrefix(name, credentialPrefix); ok {
			names = append(names, credential)
		}
	}
	slices.Sort(names)
	return names
}

// declared leaves out the credentials among the names of a scope's variables.
func declared(names func(func(string) bool)) func(func(string) bool) {
	return func(yield func(string) bool) {
		for name := range names {
			if !strings.HasPrefix(name, credentialPrefix) && !yield(name) {
				return
			}
		}
	}
}
