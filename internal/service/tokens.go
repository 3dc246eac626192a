package service

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"net/http"
	"path"
	"slices"
	"strings"
	"time"
	"unicode"

	"github.com/pipelined/pipelined/api"
	"github.com/pipelined/pipelined/api/wire"
	"github.com/pipelined/pipelined/cluster/keys"
	"github.com/pipelined/pipelined/fsm"
	"github.com/pipelined/pipelined/internal/peer"
	"github.com/pipelined/pipelined/internal/state"
	"github.com/pipelined/pipelined/pipeline"
)

const (
	// tokenPrefix begins every token of the cluster: pd_<id>_<secret>.
	tokenPrefix = "pd_"
	// maxTokenLife is how long a token with an end may be valid.
	maxTokenLife = 10 * 365 * 24 * time.Hour
	// maxTokenID bounds the id in a token, in bytes.
	maxTokenID = 64
	// maxTokenName bounds a token's name, in bytes.
	maxTokenName = 128
	// maxTokenUses bounds the uses of a token that has a number of them.
	maxTokenUses = 1_000_000
	// maxScope bounds the tags, and the pipelines, of a worker's token.
	maxScope  = 100
	pathToken = "/peer/token"
)

// TokensConfig says what Tokens is made of. All fields are needed.
type TokensConfig struct {
	Self  pipeline.NodeID
	State *state.State
	Peers *peer.Client
	Keys  *keys.Keys
}

// Tokens creates, lists and revokes tokens, and finds the subject of one. It
// implements api.Tokens and api.Authenticator.
type Tokens struct {
	self  pipeline.NodeID
	state *state.State
	peers *peer.Client
	keys  *keys.Keys
}

// NewTokens makes a Tokens.
func NewTokens(cfg TokensConfig) *Tokens {
	return &Tokens{self: cfg.Self, state: cfg.State, peers: cfg.Peers, keys: cfg.Keys}
}

// Register adds the message with which other nodes ask for a token's record.
func (t *Tokens) Register(mux *http.ServeMux) {
	mux.Handle("POST "+pathToken, peer.Handle(t.known))
}

// CreateToken creates a token. The state keeps its hash only.
func (t *Tokens) CreateToken(ctx context.Context, by api.Subject, in wire.TokenRequest) (wire.TokenCreated, error) {
	switch api.Role(in.Role) {
	case api.RoleRead, api.RoleSubmit, api.RoleWorker, api.RoleAdmin:
	default:
		return wire.TokenCreated{}, pipeline.Errorf(pipeline.Invalid, "role %q: expected read, submit, worker or admin", in.Role)
	}
	if in.Untrusted && api.Role(in.Role) != api.RoleSubmit {
		return wire.TokenCreated{}, pipeline.Errorf(pipeline.Invalid, "untrusted: only tokens with the role submit can be, this one has the role %s", in.Role)
	}
	if in.Uses < 0 || in.Uses > maxTokenUses {
		return wire.TokenCreated{}, pipeline.Errorf(pipeline.Invalid, "uses %d: expected 0, which is any number, to %d", in.Uses, maxTokenUses)
	}
	if in.Uses > 0 && api.Role(in.Role) != api.RoleSubmit && api.Role(in.Role) != api.RoleWorker {
		return wire.TokenCreated{}, pipeline.Errorf(pipeline.Invalid, "uses: runs begun and workers registered are counted; only tokens with the roles submit and worker can have them, this one has the role %s", in.Role)
	}
	if in.TTLSeconds < 0 || in.TTLSeconds > maxTokenLife.Seconds() {
		return wire.TokenCreated{}, pipeline.Errorf(pipeline.Invalid, "ttlSeconds %g: expected 0, which never expires, to ten years", in.TTLSeconds)
	}
	if len(in.Name) > maxTokenName {
		return wire.TokenCreated{}, pipeline.Errorf(pipeline.Invalid, "name: at most %d bytes", maxTokenName)
	}
	if err := checkScope(in); err != nil {
		return wire.TokenCreated{}, err
	}

	id, token, hash := newSecret(tokenPrefix)
	rec := fsm.TokenRecord{ID: id, Name: in.Name, Role: in.Role, Hash: hash, CreatedAt: time.Now().UTC(), CreatedBy: by.Name, Untrusted: in.Untrusted, Uses: in.Uses,
		Tags: in.Tags, Pipelines: in.Pipelines, Secrets: in.Secrets}
	if in.TTLSeconds > 0 {
		rec.ExpiresAt = rec.CreatedAt.Add(time.Duration(in.TTLSeconds * float64(time.Second)))
	}
	_, err := t.state.Propose(ctx, &fsm.Command{At: rec.CreatedAt, Token: &fsm.Token{Record: rec}})
	return wire.TokenCreated{TokenInfo: tokenInfo(rec), Token: token}, err
}

// checkScope checks what a token of the role worker admits.
func checkScope(in wire.TokenRequest) error {
	if api.Role(in.Role) != api.RoleWorker && (len(in.Tags) > 0 || len(in.Pipelines) > 0 || in.Secrets) {
		return pipeline.Errorf(pipeline.Invalid, "tags, pipelines and secrets: only for the role worker, not for %s", in.Role)
	}
	if len(in.Tags) > maxScope || len(in.Pipelines) > maxScope {
		return pipeline.Errorf(pipeline.Invalid, "tags, pipelines: at most %d of each", maxScope)
	}
	for _, tag := range in.Tags {
		if tag == "" || len(tag) > maxTokenName || strings.ContainsFunc(tag, func(r rune) bool { return unicode.IsSpace(r) || !unicode.IsPrint(r) }) {
			return pipeline.Errorf(pipeline.Invalid, "tag %.80q: expected one word of at most %d bytes", tag, maxTokenName)
		}
	}
	for _, pattern := range in.Pipelines {
		if _, err := path.Match(pattern, ""); err != nil || pattern == "" || len(pattern) > maxTokenName {
			return pipeline.Errorf(pipeline.Invalid, "pipeline pattern %.80q: expected a name of at most %d bytes, in which * stands for any characters and ? for one", pattern, maxTokenName)
		}
	}
	return nil
}

func tokenInfo(t fsm.TokenRecord) wire.TokenInfo {
	return wire.TokenInfo{ID: t.ID, Name: t.Name, Role: t.Role, CreatedAt: t.CreatedAt.UTC(), ExpiresAt: wire.TimeOf(t.ExpiresAt), Untrusted: t.Untrusted, Uses: t.Uses, Used: t.Used, SignIn: t.SignIn,
		WorkerScope: wire.WorkerScope{Tags: t.Tags, Pipelines: t.Pipelines, Secrets: t.Secrets}}
}

// Tokens lists the tokens, newest first.
func (t *Tokens) Tokens(context.Context) (wire.TokenList, error) {
	out := wire.TokenList{Tokens: []wire.TokenInfo{}}
	err := t.state.View(func(v *fsm.View) error {
		for _, rec := range v.Tokens() {
			if !rec.Code {
				out.Tokens = append(out.Tokens, tokenInfo(rec))
			}
		}
		return nil
	})
	slices.SortFunc(out.Tokens, func(a, b wire.TokenInfo) int { return b.CreatedAt.Compare(a.CreatedAt) })
	return out, err
}

// DeleteToken revokes a token.
func (t *Tokens) DeleteToken(ctx context.Context, by api.Subject, id string) error {
	_, err := t.state.Propose(ctx, &fsm.Command{At: time.Now().UTC(), By: by.Name, Token: &fsm.Token{Record: fsm.TokenRecord{ID: id}, Delete: true}})
	if pipeline.KindOf(err) == pipeline.NotFound {
		return noToken(id)
	}
	return err
}

// noToken is the error for an id that no token has.
func noToken(id string) error {
	return pipeline.Errorf(pipeline.NotFound, "no token %s: pipelined token ls lists the tokens", id)
}

// newSecret makes a token or code, its id and the hash of it that the state keeps.
func newSecret(prefix string) (id, secret string, hash []byte) {
	id = RandomHex(6)
	secret = prefix + id + "_" + RandomHex(24)
	sum := sha256.Sum256([]byte(secret))
	return id, secret, sum[:]
}

// secretID is the id of the record of a token or code; false if it has another form.
func secretID(prefix, secret string) (id string, ok bool) {
	rest, begins := strings.CutPrefix(secret, prefix)
	id, _, ok = strings.Cut(rest, "_")
	return id, begins && ok && len(id) <= maxTokenID
}

// valid reports whether a record is that of a token or code, and has not expired.
func valid(rec fsm.TokenRecord, secret string, now time.Time) bool {
	sum := sha256.Sum256([]byte(secret))
	return subtle.ConstantTimeCompare(sum[:], rec.Hash) == 1 && (rec.ExpiresAt.IsZero() || !now.After(rec.ExpiresAt))
}

// RandomHex makes an id or a secret of n random bytes.
func RandomHex(n int) string {
	b := make([]byte, n)
	_, _ = rand.Read(b) // never fails (crypto/rand)
	return hex.EncodeToString(b)
}
