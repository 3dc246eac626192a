package pipeline

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"maps"
	"slices"
	"sort"
	"strings"
	"time"
)

// CacheFormat is the version of the keys of results. A change of what a key is
// made of, or how, must increment it: older results are then no longer found.
const CacheFormat = 1

// What Run.Cache may hold.
const (
	// CacheOff neither uses cached results nor records any.
	CacheOff = "off"
	// CacheRefresh runs everything and records it.
	CacheRefresh = "refresh"
)

// CacheWork is the part of a module that its result depends on: the input of
// the result's key, except for the platform.
type CacheWork struct {
	Command, CacheKey []string
	Script            string
	Env               map[string]string
	// Secrets are names. The values are in no key: a key is kept and shown, and
	// a new password is no other work. A module whose result does depend on one
	// says so with cache_key.
	Secrets []string
	// Files is the digest of the files of the workspace that the module sees.
	Files string
	// Upstream are the outputs that are laid out beside them.
	Upstream                                  []Upstream
	Outputs, OutputsOptional, Reports         []string
	WorkingDir, Layout, Shell                 string
	HookBefore, HookAfter, HookOK, HookFailed string
	// Image is the digest of the image that it runs in. Services are what runs beside
	// it, with digests in place of the names of images.
	Image    string
	Services []Service
}

// CachePart is one component of a key, by name.
type CachePart struct {
	Name string `json:"n"`
	// Sum identifies the value of the component: the first 32 hexadecimal
	// digits of its digest.
	Sum string `json:"s"`
}

// MaxCacheParts bounds the components that are kept of a key; those beyond it
// count as one.
const MaxCacheParts = 256

// The names of components, as users see them. PartEnv and PartUpstream are
// prefixes of the name that follows.
const (
	PartFiles    = "files"
	PartCommand  = "command"
	PartScript   = "script"
	PartEnv      = "env."
	PartUpstream = "outputs of "
)

// Parts returns the components of the work's key, sorted by name. The digests
// are keyed by salt, a secret of the cluster, so that a short secret cannot be
// found from them by trying.
func (w *CacheWork) Parts(salt []byte) []CachePart {
	var parts []CachePart
	add := func(name string, values ...string) {
		parts = append(parts, CachePart{Name: name, Sum: cacheSum(salt, name, values)})
	}

	if w.Command != nil {
		add(PartCommand, w.Command...)
	}

	if w.Script != "" {
		add(PartScript, w.Script)
	}

	for _, name := range slices.Sorted(maps.Keys(w.Env)) {
		add(PartEnv+name, w.Env[name])
	}
	for _, name := range w.Secrets {
		add("secret " + name)
	}
	for i, value := range w.CacheKey {
		add(fmt.Sprintf("cache_key[%d]", i), value)
	}

	for i := range w.Upstream {
		// The names are for users. The module sees files at their own paths,
		// regardless of the module that made them, unless the layout says
		// otherwise.
		u := &w.Upstream[i]
		in := PartUpstream
		if w.Layout != "" {
			in += u.Module
		}

		parts = append(parts, CachePart{Name: PartUpstream + u.Module, Sum: cacheSum(salt, in, []string{string(u.Outputs)})})
	}

	add(PartFiles, w.Files)

	for name, list := range map[string][]string{"outputs": w.Outputs, "outputs_optional": w.OutputsOptional, "reports.junit": w.Reports} {
		if len(list) > 0 {
			add(name, list...)
		}
	}

	for name, value := range map[string]string{"working_dir": w.WorkingDir, "layout": w.Layout, "shell": w.Shell, "hooks.before": w.HookBefore,
		"hooks.after": w.HookAfter, "hooks.on_success": w.HookOK, "hooks.on_failure": w.HookFailed} {
		if value != "" {
			add(name, value)
		}
	}

	if w.Image != "" {
		add("image", w.Image)
	}
	for i := range w.Services {
		s := &w.Services[i]
		list := append([]string{s.Name, s.Image, s.Health}, s.Command...)
		for _, name := range slices.Sorted(maps.Keys(s.Env)) {
			list = append(list, name+"="+s.Env[name])
		}
		add("service "+s.Name, list...)
	}

	sort.Slice(parts, func(i, j int) bool { return parts[i].Name < parts[j].Name })
	if len(parts) > MaxCacheParts {
		rest := make([]string, 0, 2*(len(parts)-MaxCacheParts+1))
		for _, p := range parts[MaxCacheParts-1:] {
			rest = append(rest, p.Name, p.Sum)
		}
		parts = append(parts[:MaxCacheParts-1:MaxCacheParts-1], CachePart{Name: "the rest", Sum: cacheSum(salt, "the rest", rest)})
	}

	return parts
}

// CacheKey returns the key of a result: of the work with these parts, on a
// platform. With an empty platform it is the key of the work on any platform.
func CacheKey(salt []byte, parts []CachePart, os, arch string) Digest {
	list := make([]string, 0, 2*len(parts)+3)
	var upstream []string
	for _, p := range parts {
		if strings.HasPrefix(p.Name, PartUpstream) {
			upstream = append(upstream, p.Sum)
			continue
		}
		list = append(list, p.Name, p.Sum)
	}

	slices.Sort(upstream)
	list = append(append(list, fmt.Sprint(CacheFormat), os, arch), upstream...)

	return Digest(hex.EncodeToString(cacheHash(salt, "key", list)))
}

func cacheSum(salt []byte, name string, values []string) string {
	return hex.EncodeToString(cacheHash(salt, name, values)[:16])
}

// cacheHash is a keyed digest of texts, each with its length.
func cacheHash(salt []byte, name string, values []string) []byte {
	h := hmac.New(sha256.New, salt)
	var n [8]byte
	write := func(s string) {
		binary.BigEndian.PutUint64(n[:], uint64(len(s)))
		h.Write(n[:])
		h.Write([]byte(s))
	}

	write(name)

	for _, s := range values {
		write(s)
	}

	return h.Sum(nil)
}

// CacheLookup is the record of a module's key with its attempt. A module that
// succeeds is recorded under Key.
type CacheLookup struct {
	Key Digest `json:"key,omitempty"`
	// Work is the key without a platform: what does the same work at the same
	// time has the same.
	Work  Digest      `json:"work,omitempty"`
	Parts []CachePart `json:"parts,omitempty"`
	// Inputs are the module's globs, nil if all of the workspace counts.
	Inputs []string `json:"inputs,omitempty"`
	// Image is the digest of the image that is part of the key, ServiceImages those of
	// the services: the result of an attempt that ran with others is not recorded.
	Image         string   `json:"image,omitempty"`
	ServiceImages []string `json:"serviceImages,omitempty"`
	// Missed says why no cached result was taken: a sentence for each reason.
	Missed []string `json:"missed,omitempty"`
}

// MissedAgainst begins each line of CacheLookup.Missed that says what differs from the
// result of a run.
func MissedAgainst(run RunID) string { return "against run " + string(run) + ": " }

// CacheEntry is a cached result.
type CacheEntry struct {
	Key      Digest `json:"key"`
	Pipeline string `json:"pipeline"`
	// From is the attempt whose result it is.
	From     AttemptID     `json:"from"`
	Worker   string        `json:"worker,omitempty"`
	MadeAt   time.Time     `json:"madeAt"`
	Duration time.Duration `json:"duration"`

	Result      []byte   `json:"result,omitempty"`
	ExitCode    *int     `json:"exitCode,omitempty"`
	Log         Digest   `json:"log,omitempty"`
	LogSize     int64    `json:"logSize,omitempty"`
	Outputs     Digest   `json:"outputs,omitempty"`
	OutputPaths []string `json:"outputPaths,omitempty"`
	OutputCount int      `json:"outputCount,omitempty"`
	OutputBytes int64    `json:"outputBytes,omitempty"`
	// Tests is what the attempt reported of its tests.
	Tests *TestSummary `json:"tests,omitempty"`
	// Holders are nodes that had log and outputs when they were last looked for.
	Holders []NodeID `json:"holders,omitempty"`

	// Parts are the components of the key. Workspace is the tree whose files
	// were part of it, Inputs the globs that selected them (all if nil).
	Parts     []CachePart `json:"parts,omitempty"`
	Workspace Digest      `json:"workspace,omitempty"`
	Inputs    []string    `json:"inputs,omitempty"`
}

// CacheUse says how often a cached result was taken and when last.
type CacheUse struct {
	Hits int       `json:"hits,omitempty"`
	Last time.Time `json:"last"`
}

// CacheStats counts over the life of a cluster's state.
type CacheStats struct {
	Entries int `json:"entries"`
	// StateBytes is what the entries take of the replicated state.
	StateBytes int64 `json:"stateBytes"`
	Hits       int64 `json:"hits"`
	Misses     int64 `json:"misses"`
	// Saved is what the results took to make that were not made again.
	Saved time.Duration `json:"saved"`
	// Evicted counts entries that went because there were too many.
	Evicted int64 `json:"evicted"`
}

// DiffParts names the components in which two keys differ, sorted: changed,
// new, and gone ones.
func DiffParts(old, now []CachePart) (changed, added, removed []string) {
	was := make(map[string]string, len(old))
	for _, p := range old {
		was[p.Name] = p.Sum
	}

	for _, p := range now {
		sum, ok := was[p.Name]
		switch {
		case !ok:
			added = append(added, p.Name)
		case sum != p.Sum:
			changed = append(changed, p.Name)
		}

		delete(was, p.Name)
	}

	return changed, added, slices.Sorted(maps.Keys(was))
}
