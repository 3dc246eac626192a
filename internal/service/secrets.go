package service

import (
	"context"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/pipelined/pipelined/api"
	"github.com/pipelined/pipelined/api/wire"
	"github.com/pipelined/pipelined/cluster/keys"
	"github.com/pipelined/pipelined/fsm"
	"github.com/pipelined/pipelined/internal/peer"
	"github.com/pipelined/pipelined/internal/state"
	"github.com/pipelined/pipelined/pipeline"
	"github.com/pipelined/pipelined/pipeline/language"
	"github.com/pipelined/pipelined/pipeline/mask"
)

// SecretPrefix begins the environment variables that `pipelined run` takes its
// secrets from.
const SecretPrefix = "PIPELINED_SECRET_"

const pathSecrets = "/peer/secrets"

// SecretsConfig says what Secrets is made of.
type SecretsConfig struct {
	State *state.State
	Peers *peer.Client
	Keys  *keys.Keys
	// Given, if it is not nil, replaces the secrets of the replicated state. It is
	// in the memory of this process only.
	Given map[string]string
}

// Secrets sets, lists and deletes secrets, and reads their values for the vault.
// It implements api.Secrets.
type Secrets struct {
	state *state.State
	peers *peer.Client
	keys  *keys.Keys
	given map[string]string
}

// NewSecrets makes a Secrets.
func NewSecrets(cfg SecretsConfig) *Secrets {
	return &Secrets{state: cfg.State, peers: cfg.Peers, keys: cfg.Keys, given: cfg.Given}
}

// Register adds the message with which a node that has no state asks for names.
func (s *Secrets) Register(mux *http.ServeMux) {
	mux.Handle("POST "+pathSecrets, peer.Handle(func(context.Context, struct{}) ([]string, error) { return s.names() }))
}

// SetSecret seals a value on this node, so that it goes no further, and commits
// the sealed form.
func (s *Secrets) SetSecret(ctx context.Context, by api.Subject, name string, in wire.SecretRequest) (wire.SecretInfo, error) {
	if err := checkSecret(name, in.Value); err != nil {
		return wire.SecretInfo{}, err
	}

	rec := fsm.SecretRecord{Name: name, Sealed: s.keys.Seal(sealSecret+name, []byte(in.Value)), SetAt: time.Now().UTC(), SetBy: by.Name,
		Unmasked: mask.TooShort(in.Value)}
	_, err := s.state.Propose(ctx, &fsm.Command{At: rec.SetAt, Secret: &fsm.Secret{Record: rec}})
	return secretInfo(rec), err
}

func checkSecret(name, value string) error {
	if bad := language.CheckSecretName(name); bad != "" {
		return pipeline.Errorf(pipeline.Invalid, "%s: expected letters, digits and _, no digit in front, and no name that workers set themselves", bad)
	}
	switch {
	case value == "":
		return pipeline.Errorf(pipeline.Invalid, "secret %s has no value", name)
	case len(value) > fsm.MaxSecretBytes:
		return pipeline.Errorf(pipeline.TooLarge, "secret %s has %d bytes: at most %d", name, len(value), fsm.MaxSecretBytes)
	case strings.ContainsRune(value, 0) || !utf8.ValidString(value):
		return pipeline.Errorf(pipeline.Invalid, "secret %s is not text, and no environment variable can hold it: encode it, for example in base64", name)
	}
	return nil
}

func secretInfo(s fsm.SecretRecord) wire.SecretInfo {
	return wire.SecretInfo{Name: s.Name, SetAt: s.SetAt.UTC(), SetBy: s.SetBy, Unmasked: s.Unmasked}
}

// Secrets lists the secrets by name, without their values.
func (s *Secrets) Secrets(context.Context) (wire.SecretList, error) {
	out := wire.SecretList{Secrets: []wire.SecretInfo{}}
	err := s.state.View(func(v *fsm.View) error {
		for _, rec := range v.Secrets() {
			out.Secrets = append(out.Secrets, secretInfo(rec))
		}
		return nil
	})
	return out, err
}

// DeleteSecret deletes a secret.
func (s *Secrets) DeleteSecret(ctx context.Context, by api.Subject, name string) error {
	_, err := s.state.Propose(ctx, &fsm.Command{At: time.Now().UTC(), By: by.Name, Secret: &fsm.Secret{Record: fsm.SecretRecord{Name: name}, Delete: true}})
	return err
}

// names lists the names of the secrets that this node knows of.
func (s *Secrets) names() ([]string, error) {
	if s.given != nil {
		return slices.Sorted(maps.Keys(s.given)), nil
	}

	names := []string{}
	err := s.state.View(func(v *fsm.View) error {
		for _, rec := range v.Secrets() {
			names = append(names, rec.Name)
		}
		return nil
	})
	return names, err
}

// check refuses a pipeline that names a secret which is not set.
func (s *Secrets) check(ctx context.Context, file *language.File, def *pipeline.Pipeline) error {
	needs := slices.ContainsFunc(def.Modules, func(m pipeline.Module) bool { return len(m.SecretNames()) > 0 })
	if !needs {
		return nil
	}

	diags, err := s.missing(ctx, func(names []string) language.Diagnostics { return file.MissingSecrets(def, names, s.hint) })
	if err == nil && len(diags) > 0 {
		err = sourceError(diags)
	}
	return err
}

// missing finds out which secrets are not set. One that this node does not know
// of may have been set a moment ago, so it looks again after it caught up with
// the leader; if it cannot, the answer is not known. A node without the state
// asks the leader.
func (s *Secrets) missing(ctx context.Context, look func(names []string) language.Diagnostics) (language.Diagnostics, error) {
	if s.given == nil && !s.state.HasState() {
		leader, err := s.state.LeaderID()
		if err != nil {
			return nil, err
		}
		var names []string
		if err := s.peers.Call(ctx, leader, pathSecrets, struct{}{}, &names); err != nil {
			return nil, err
		}
		return look(names), nil
	}

	names, err := s.names()
	if err != nil {
		return nil, err
	}
	diags := look(names)
	if len(diags) == 0 || s.given != nil {
		return diags, nil
	}

	fresh := s.state.Fresh(ctx)
	if names, err = s.names(); err != nil {
		return nil, err
	}
	if diags = look(names); len(diags) > 0 && !fresh {
		return nil, pipeline.Errorf(pipeline.Unavailable,
			"this node has not caught up with the leader: it cannot tell whether the secrets of the pipeline are set")
	}
	return diags, nil
}

// hint says how to set a secret.
func (s *Secrets) hint(name string) string {
	if s.given != nil {
		return "give it as " + SecretPrefix + name + " in the environment"
	}
	return "set it: pipelined secrets set " + name
}

// firstMissing says of the first secret that is not set how to set it; "" if all
// are set.
func (s *Secrets) firstMissing(names []string) string {
	for _, name := range names {
		if s.given != nil {
			if _, ok := s.given[name]; !ok {
				return fmt.Sprintf("secret %s is not set: %s", name, s.hint(name))
			}
			continue
		}

		ok := false
		err := s.state.View(func(v *fsm.View) error { _, ok = v.Secret(name); return nil })
		if err == nil && !ok {
			return fmt.Sprintf("secret %s was deleted: %s", name, s.hint(name))
		}
	}
	return ""
}

// value opens a secret; false if there is none of that name.
func (s *Secrets) value(name string) (string, bool, error) {
	if s.given != nil {
		value, ok := s.given[name]
		return value, ok, nil
	}

	var rec fsm.SecretRecord
	var ok bool
	err := s.state.View(func(v *fsm.View) error { rec, ok = v.Secret(name); return nil })
	if err != nil || !ok {
		return "", false, err
	}
	value, err := s.keys.Open(sealSecret+name, rec.Sealed)
	if err != nil {
		return "", false, fmt.Errorf("open secret %s: %w", name, err)
	}
	return string(value), true, nil
}
