package node

import (
	"context"
	"maps"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/pipelined/pipelined/api"
	"github.com/pipelined/pipelined/api/wire"
	"github.com/pipelined/pipelined/fsm"
	"github.com/pipelined/pipelined/pipeline"
	"github.com/pipelined/pipelined/pipeline/language"
	"github.com/pipelined/pipelined/pipeline/mask"
)

// SecretPrefix begins the variables of the environment that `run` takes its
// secrets from.
const SecretPrefix = "PIPELINED_SECRET_"

// SetSecret seals a secret here, so that its value goes no further, and commits
// it.
func (b *backend) SetSecret(ctx context.Context, by api.Subject, name string, in wire.SecretRequest) (wire.SecretInfo, error) {
	n := b.node()
	if bad := language.CheckSecretName(name); bad != "" {
		return wire.SecretInfo{}, pipeline.Errorf(pipeline.Invalid, "%s: want letters, digits and _, no digit in front, and no name that workers set themselves", bad)
	}
	switch {
	case in.Value == "":
		return wire.SecretInfo{}, pipeline.Errorf(pipeline.Invalid, "secret %s has no value", name)
	case len(in.Value) > fsm.MaxSecretBytes:
		return wire.SecretInfo{}, pipeline.Errorf(pipeline.TooLarge, "secret %s has %d bytes: at most %d", name, len(in.Value), fsm.MaxSecretBytes)
	case strings.ContainsRune(in.Value, 0) || !utf8.ValidString(in.Value):
		return wire.SecretInfo{}, pipeline.Errorf(pipeline.Invalid, "secret %s is no text, and no variable of a process can hold it as it is: encode it, for example in base64", name)
	}
	rec := fsm.SecretRecord{Name: name, Sealed: n.keys.Seal(sealSecret+name, []byte(in.Value)), SetAt: time.Now().UTC(), SetBy: by.Name,
		Unmasked: mask.TooShort(in.Value)}
	_, err := n.state.Propose(ctx, &fsm.Command{At: rec.SetAt, Secret: &fsm.Secret{Record: rec}})
	return secretInfo(rec), err
}

func secretInfo(s fsm.SecretRecord) wire.SecretInfo {
	return wire.SecretInfo{Name: s.Name, SetAt: s.SetAt.UTC(), SetBy: s.SetBy, Unmasked: s.Unmasked}
}

// Secrets lists the secrets by name, without their values.
func (b *backend) Secrets(context.Context) (wire.SecretList, error) {
	out := wire.SecretList{Secrets: []wire.SecretInfo{}}
	err := b.store.View(func(v *fsm.View) error {
		for _, s := range v.Secrets() {
			out.Secrets = append(out.Secrets, secretInfo(s))
		}
		return nil
	})
	return out, err
}

// DeleteSecret removes a secret.
func (b *backend) DeleteSecret(ctx context.Context, _ api.Subject, name string) error {
	_, err := b.node().state.Propose(ctx, &fsm.Command{At: time.Now().UTC(), Secret: &fsm.Secret{Record: fsm.SecretRecord{Name: name}, Delete: true}})
	return err
}

// secretNames lists the names of the secrets that this node knows of.
func (n *Node) secretNames() ([]string, error) {
	if n.cfg.Secrets != nil {
		return slices.Sorted(maps.Keys(n.cfg.Secrets)), nil
	}
	names := []string{}
	err := n.store.View(func(v *fsm.View) error {
		for _, s := range v.Secrets() {
			names = append(names, s.Name)
		}
		return nil
	})
	return names, err
}

// checkSecrets refuses a pipeline that names a secret which is not set. One that
// this node does not know of may have been set a moment ago.
func (n *Node) checkSecrets(ctx context.Context, f *language.File, p *pipeline.Pipeline) error {
	missing := func(names []string, err error) (language.Diagnostics, error) {
		if err != nil {
			return nil, err
		}
		return f.MissingSecrets(p, names, n.howToSet), nil
	}
	needs := slices.ContainsFunc(p.Modules, func(m pipeline.Module) bool { return len(m.Secrets) > 0 })
	if !needs {
		return nil
	}
	var diags language.Diagnostics
	var err error
	if n.cfg.Secrets != nil || n.state.HasState() {
		if diags, err = missing(n.secretNames()); err == nil && len(diags) > 0 && n.cfg.Secrets == nil {
			fresh := n.state.Fresh(ctx)
			if diags, err = missing(n.secretNames()); err == nil && len(diags) > 0 && !fresh {
				return pipeline.Errorf(pipeline.Unavailable, "whether the secrets of the pipeline are set cannot be told: this node has not caught up with the leader")
			}
		}
	} else {
		var leader pipeline.NodeID
		if leader, err = n.state.LeaderID(); err == nil {
			var names []string
			err = n.peers.Call(ctx, leader, "/peer/secrets", struct{}{}, &names)
			diags, err = missing(names, err)
		}
	}
	if err == nil && len(diags) > 0 {
		err = sourceError(diags)
	}
	return err
}

func (n *Node) howToSet(name string) string {
	if n.cfg.Secrets != nil {
		return "give it as " + SecretPrefix + name + " in the environment"
	}
	return "set it: pipelined secrets set " + name
}
