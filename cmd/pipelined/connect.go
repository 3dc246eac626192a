package main

import (
	"context"
	"crypto/tls"
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

// connect finds the cluster and a way to prove who asks.
func (c connector) connect(ctx context.Context) (*client.Client, error) {
	cfg := client.Config{UserAgent: "pipelined/" + readBuildInfo().Version, OnRetry: c.env.retries.Retrying,
		TLS: &tls.Config{MinVersion: tls.VersionTLS12}}
	var err error
	if cfg.Token, err = c.givenToken(); err != nil {
		return nil, err
	}

	if cfg.Addresses, err = c.addresses(ctx); err != nil {
		return nil, err
	}

	own := c.newSelfToken()
	switch {
	case cfg.Token == "":
		cfg.TokenSource, cfg.TLS = own.token, own.tls()
	case own.keys != nil:
		// A token that was given may go to any server that the system or the
		// cluster vouches for.
		cfg.TLS.RootCAs = poolWith(own.keys)
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
		return "", usagef("read token: %w", err)
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

// keyPath is the file of the cluster key.
func (c connector) keyPath() string {
	if c.env.flags.keyFile != "" {
		return c.env.flags.keyFile
	}
	return keys.DefaultFile(storage.DefaultRoot())
}

// addresses are the nodes to try: those that were given, or the agent of this
// machine.
func (c connector) addresses(ctx context.Context) ([]string, error) {
	if c.env.flags.address != "" {
		var list []string
		for a := range strings.SplitSeq(c.env.flags.address, ",") {
			if a = strings.TrimSpace(a); a != "" {
				list = append(list, withPort(a))
			}
		}

		if len(list) == 0 {
			return nil, usagef("-address %q: expected host:port or a URL", c.env.flags.address)
		}

		return list, nil
	}

	_, localErr := askHealth(ctx, c.env.local, nil) // one without a leader is an agent too
	if localErr == nil {
		return []string{c.env.local}, nil
	}

	found := c.env.agents()
	switch len(found) {
	case 1:
		return []string{agentURL(found[0])}, nil
	case 0:
		return nil, failf(exitUnavailable, "no cluster: %s; no agent of this user runs on this machine (no agent.json below %s): start one with `pipelined agent`, or choose one with -address",
			probeText(c.env.local, localErr), storage.DefaultRoot())
	}

	var names []string
	for _, a := range found {
		names = append(names, fmt.Sprintf("%s (%s)", a.HTTP, a.Name))
	}

	return nil, failf(exitUnavailable, "no cluster chosen: %s, and several agents run on this machine: choose one with -address: %s",
		probeText(c.env.local, localErr), strings.Join(names, ", "))
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

// askHealth asks one node how it is, without a token.
func askHealth(ctx context.Context, address string, tlsConfig *tls.Config) (wire.Health, error) {
	ctx, cancel := context.WithTimeout(ctx, probeLimit)
	defer cancel()
	api, err := client.New(client.Config{Addresses: []string{address}, TLS: tlsConfig, RetryFor: time.Millisecond, ConnectFor: time.Millisecond})
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

// probeText says why no agent was found at an address.
func probeText(address string, err error) string {
	var op *net.OpError
	switch {
	case errors.As(err, &op) && op.Op == "dial":
		return "no answer at " + address
	case errors.Is(err, errNotOurs):
		return address + ": " + err.Error()
	}

	return fmt.Sprintf("%s does not answer like an agent (%v)", address, err)
}

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
