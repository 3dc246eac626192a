package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/user"
	"strings"
	"time"

	"github.com/pipelined/pipelined/api/client"
	"github.com/pipelined/pipelined/api/wire"
	"github.com/pipelined/pipelined/cluster/keys"
	"github.com/pipelined/pipelined/storage"
)

const (
	// localAddress is where an agent listens by default.
	localAddress = "127.0.0.1:8080"
	// defaultPort is taken for an address without one.
	defaultPort = "8080"
	// probeLimit bounds the question whether an agent is there.
	probeLimit = 2 * time.Second
)

// connect finds the cluster for a command that changes something.
func (env *environment) connect(ctx context.Context) (*client.Client, error) {
	if env.flags.address == runAddress {
		return history{env}.open(ctx)
	}
	return connector{env}.connect(ctx)
}

// connectCluster is connect for a command that needs a cluster, which what
// `pipelined run` has stored is not.
func (env *environment) connectCluster(ctx context.Context, command string) (*client.Client, error) {
	if env.flags.address == runAddress {
		return nil, usagef("%s: needs a cluster; -address %s is what `pipelined run` has stored on this machine", command, runAddress)
	}
	return env.connect(ctx)
}

// connector finds the cluster and the token that a command line uses.
type connector struct{ env *environment }

// connect finds the cluster and a way to prove who asks. A token that is made here
// goes to no server that has not proved that it has the cluster key: the agent of
// this user by its socket, others by TLS (settled 13).
func (c connector) connect(ctx context.Context) (*client.Client, error) {
	return c.connectWith(ctx, nil)
}

// connectWith is connect with changes of the client's configuration; nil for none.
func (c connector) connectWith(ctx context.Context, change func(*client.Config)) (*client.Client, error) {
	given, err := c.givenToken()
	if err != nil {
		return nil, err
	}

	own, err := c.newSelfToken()
	if err != nil {
		return nil, err
	}
	if own.unusable && given == "" && c.env.flags.keyFile != "" {
		return nil, own.err // else the search for an agent says something else, or nothing
	}
	cfg := own.server()
	if given != "" {
		cfg = client.Config{Token: given, TLS: own.anyTLS()}
	}

	if cfg.Addresses, err = c.addresses(ctx, own, &cfg); err != nil {
		return nil, err
	}

	cfg.UserAgent, cfg.OnRetry = userAgent(), c.env.retries.Retrying
	if change != nil {
		change(&cfg)
	}
	return client.New(cfg)
}

// givenToken is what -token, -token-file or their variables say; "" for none.
func (c connector) givenToken() (string, error) {
	if c.env.flags.tokenFile == "" || c.env.flags.token != "" {
		return strings.TrimSpace(c.env.flags.token), nil
	}

	text, err := os.ReadFile(c.env.flags.tokenFile)
	if err != nil {
		return "", usagef("read token: %w: -token-file takes a file that holds a token and nothing else", fileError(err))
	}

	token := strings.TrimSpace(string(text))
	if token == "" || strings.ContainsAny(token, " \n\r\t") {
		return "", usagef("read token %s: expected one token and nothing else", c.env.flags.tokenFile)
	}

	return token, nil
}

// clusterKey reads the cluster key, which is never made here.
func (c connector) clusterKey() ([]byte, error) {
	if c.env.flags.keyFile == "" {
		if text := c.env.getenv("PIPELINED_KEY"); text != "" {
			key, err := keys.Parse(text)
			return key, wrap("PIPELINED_KEY", err)
		}
	}
	return keys.Load(c.keyPath())
}

// keyName says where the cluster key is from.
func (c connector) keyName() string {
	if c.env.flags.keyFile == "" && c.env.getenv("PIPELINED_KEY") != "" {
		return "PIPELINED_KEY"
	}
	return c.keyPath()
}

// keyPath is the file of the cluster key.
func (c connector) keyPath() string {
	if c.env.flags.keyFile != "" {
		return c.env.flags.keyFile
	}
	return c.defaultKeyPath()
}

// defaultKeyPath is the file of the cluster key if none is named.
func (c connector) defaultKeyPath() string { return keys.DefaultFile(storage.DefaultRoot()) }

// addresses are the nodes to try: those that were given, or the agent of this
// machine.
func (c connector) addresses(ctx context.Context, own *ownToken, cfg *client.Config) ([]string, error) {
	if c.env.flags.address == "" {
		return c.discover(ctx, own, cfg)
	}

	var list []string
	for a := range strings.SplitSeq(c.env.flags.address, ",") {
		if a = strings.TrimSpace(a); a == "" {
			continue
		}
		if cfg.Token == "" {
			if err := mayProve(a, cfg); err != nil {
				return nil, err
			}
		}
		list = append(list, withPort(a))
	}

	if len(list) == 0 {
		return nil, usagef("-address %q: expected host:port or a URL", c.env.flags.address)
	}

	return list, nil
}

// discover finds the agent of this machine. Anybody may listen on the usual
// address: if that server does not prove that it has the cluster key, it is passed
// over, and a given token does not go there either.
func (c connector) discover(ctx context.Context, own *ownToken, cfg *client.Config) ([]string, error) {
	if cfg.Local[c.env.local] != nil {
		return []string{c.env.local}, nil
	}

	probe := client.Config{}
	if own.keys != nil {
		cfg.OnlyTLS, probe = true, own.server()
		cfg.TLS = probe.TLS
	}

	_, localErr := askHealth(ctx, c.env.local, probe) // one without a leader is an agent too
	usable := own.keys != nil || cfg.Token != ""
	if localErr == nil && usable {
		return []string{c.env.local}, nil
	}

	found := c.env.agents()
	switch {
	case len(found) == 1:
		if unproven(localErr) {
			c.env.tell("%s; using the agent %s (%s)", own.unprovenText(c.env.local, localErr), found[0].Name, found[0].HTTP)
		}
		return []string{agentURL(found[0])}, nil
	case localErr == nil:
		return nil, own.err
	case len(found) == 0:
		return nil, failf(exitUnavailable, "no cluster: %s; no agent of this user runs on this machine (no agent.json below %s): start one with `pipelined agent`, or choose one with -address",
			own.probeText(c.env.local, localErr), storage.DefaultRoot())
	}

	var names []string
	for _, a := range found {
		names = append(names, fmt.Sprintf("%s (%s)", a.HTTP, a.Name))
	}

	return nil, failf(exitUnavailable, "no cluster chosen: %s, and several agents run on this machine: choose one with -address: %s",
		own.probeText(c.env.local, localErr), strings.Join(names, ", "))
}

func agentURL(a storage.AgentFile) string {
	scheme := a.HTTPScheme
	if scheme == "" {
		scheme = "http"
	}

	return scheme + "://" + a.HTTP
}

// localAgents reads what the agents of this machine say of themselves.
func localAgents() []storage.AgentFile {
	var list []storage.AgentFile
	for _, path := range storage.AgentFiles() {
		if a, err := storage.ReadAgentFile(path); err == nil && a.HTTP != "" {
			list = append(list, a)
		}
	}

	return list
}

// withPort adds the usual port to an address that has none.
func withPort(a string) string {
	if strings.Contains(a, "://") {
		return a
	}

	if _, _, err := net.SplitHostPort(a); err == nil {
		return a
	}

	return net.JoinHostPort(strings.Trim(a, "[]"), defaultPort)
}

var errNotOurs = errors.New("not a pipelined agent")

// askHealth asks one node how it is, without a token, over the connection that
// server describes.
func askHealth(ctx context.Context, address string, server client.Config) (wire.Health, error) {
	ctx, cancel := context.WithTimeout(ctx, probeLimit)
	defer cancel()
	api, err := client.New(client.Config{Addresses: []string{address}, TLS: server.TLS, OnlyTLS: server.OnlyTLS, Local: server.Local,
		RetryFor: time.Millisecond, ConnectFor: time.Millisecond})
	if err != nil {
		return wire.Health{}, err
	}

	defer api.CloseIdle()
	h, err := api.Health(ctx)
	if err == nil && h.NodeID == "" {
		err = errNotOurs
	}

	return h, err
}

// userAgent names this program to servers.
func userAgent() string { return "pipelined/" + readBuildInfo().Version }

// whoami names the person for the audit.
func whoami() string {
	if u, err := user.Current(); err == nil && u.Username != "" {
		return u.Username
	}
	return "cli"
}

// noKeyText says what a command line without key and token can do.
func noKeyText(path string, err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return failf(exitForbidden, "no token, and no cluster key to create one from (%s does not exist): use -token, -token-file or -key-file", path)
	}
	return failf(exitForbidden, "no token, and no cluster key to create one from: %w", err)
}
