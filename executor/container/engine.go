package container

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/moby/moby/client"

	"github.com/pipelined/pipelined/pipeline"
)

// Off is the host that turns containers off.
const Off = "off"

// Facts are what a container depends on besides its module. They are found once,
// and go along with each Job.
type Facts struct {
	// Host is the address of the socket, such as unix:///run/docker.sock.
	Host string `json:"host"`
	// Name and Version are the engine's: docker or podman.
	Name    string `json:"name"`
	Version string `json:"version"`
	// Rootless engines map their user root to the user who runs them, and Remapped
	// ones map every user of a container to another.
	Rootless bool `json:"rootless,omitempty"`
	Remapped bool `json:"remapped,omitempty"`
}

// String names the engine, as in "docker 28.2".
func (f *Facts) String() string { return f.Name + " " + f.Version }

// Engine is a connection to an engine.
type Engine struct {
	Facts
	cli *client.Client
}

// scheme begins every host: the directories of modules are those of this machine, so
// the engine is on it, too.
const scheme = "unix://"

// CheckHost says what is wrong with a host that a user names; nil if nothing is.
func CheckHost(host string) error {
	if host == "" || host == Off || strings.HasPrefix(host, scheme+"/") {
		return nil
	}
	return errors.New("expected a unix socket of this machine, such as unix:///run/docker.sock, or off: containers work in directories of the machine")
}

// hosts are the sockets that are tried if none is named.
func hosts(getenv func(string) string) []string {
	if host := getenv("DOCKER_HOST"); strings.HasPrefix(host, scheme) {
		return []string{host}
	}
	list := []string{scheme + "/var/run/docker.sock", scheme + "/run/podman/podman.sock"}
	if dir := getenv("XDG_RUNTIME_DIR"); dir != "" {
		list = append(list, scheme+dir+"/docker.sock", scheme+dir+"/podman/podman.sock")
	}
	return list
}

// findTime bounds the look for an engine. One on a busy machine may take some seconds
// to describe itself.
const findTime = 10 * time.Second

// Find connects to the engine at host, or if that is "" to the first that answers of
// DOCKER_HOST and the usual sockets. The error says what was tried.
func Find(ctx context.Context, host string) (*Engine, error) {
	if host == Off {
		return nil, pipeline.Errorf(pipeline.Unavailable, "containers are turned off on this machine")
	}
	list := []string{host}
	if host == "" {
		list = hosts(os.Getenv)
	}

	var tried []string
	for _, h := range list {
		path := strings.TrimPrefix(h, scheme)
		if _, err := os.Stat(path); err != nil {
			tried = append(tried, path+" does not exist")
			continue
		}
		e, err := open(ctx, h)
		if err == nil {
			return e, nil
		}
		tried = append(tried, path+": "+err.Error())
	}
	return nil, pipeline.Errorf(pipeline.Unavailable, "no container engine: %s", strings.Join(tried, "; "))
}

// open connects to an engine and asks what it is.
func open(ctx context.Context, host string) (*Engine, error) {
	ctx, cancel := context.WithTimeout(ctx, findTime)
	defer cancel()
	e, err := connect(Facts{Host: host})
	if err != nil {
		return nil, err
	}

	v, err := e.cli.ServerVersion(ctx, client.ServerVersionOptions{})
	if err != nil {
		e.Close()
		return nil, err
	}
	info, err := e.cli.Info(ctx, client.InfoOptions{})
	if err != nil {
		e.Close()
		return nil, err
	}

	e.Name, e.Version = "docker", v.Version
	for _, c := range v.Components {
		if c.Name == "Podman Engine" {
			e.Name = "podman"
		}
	}
	has := func(option string) bool {
		return slices.ContainsFunc(info.Info.SecurityOptions, func(s string) bool {
			return slices.Contains(strings.Split(s, ","), "name="+option)
		})
	}
	e.Rootless, e.Remapped = has("rootless"), has("userns")
	if e.Name == "podman" && !e.Rootless {
		if e.Rootless, err = e.podmanRootless(ctx); err != nil {
			e.Close()
			return nil, err
		}
	}
	return e, nil
}

// podmanRootless asks Podman, which says it in a field of its own that the client does
// not know, and not among the security options.
func (e *Engine) podmanRootless(ctx context.Context) (bool, error) {
	dial := e.cli.Dialer()
	t := &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) { return dial(ctx) }}
	defer t.CloseIdleConnections()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://podman/v"+e.cli.ClientVersion()+"/info", nil)
	if err != nil {
		return false, err
	}
	res, err := t.RoundTrip(req)
	if err != nil {
		return false, err
	}
	defer res.Body.Close()
	var info struct{ Rootless bool }
	if err := json.NewDecoder(res.Body).Decode(&info); err != nil {
		return false, fmt.Errorf("ask Podman whether it is rootless: %w", err)
	}
	return info.Rootless, nil
}

// connect makes an engine of what is known of it.
func connect(f Facts) (*Engine, error) {
	cli, err := client.New(client.WithHost(f.Host))
	if err != nil {
		return nil, fmt.Errorf("connect to the container engine: %w", err)
	}
	return &Engine{Facts: f, cli: cli}, nil
}

// Alive reports whether the engine answers.
func (e *Engine) Alive(ctx context.Context) bool {
	ctx, cancel := context.WithTimeout(ctx, findTime)
	defer cancel()
	_, err := e.cli.Ping(ctx, client.PingOptions{})
	return err == nil
}

// Close ends the connections.
func (e *Engine) Close() { _ = e.cli.Close() }
