package main

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
	"time"

	"golang.org/x/sync/errgroup"
)

// fileServerCommand as first argument makes this program the floor of the remote
// cache: a server that keeps each body in a file.
const fileServerCommand = "file-server"

// cacheClients is how many clients put and get entries at once, each over one
// connection.
const cacheClients = 16

// entrySizes are those of entries, and how many of them each client puts a round.
var entrySizes = []struct {
	name        string
	size, count int
}{{"4 KiB", 4 << 10, 100}, {"1 MiB", 1 << 20, 8}}

// runFileServer serves a folder on an address until it is killed. A body is
// flushed before it gets its name, and nothing more is done.
func runFileServer(args []string) error {
	if len(args) != 2 {
		return errors.New("want an address and a folder")
	}

	dir := args[1]
	mux := http.NewServeMux()
	mux.HandleFunc("GET /ac/{key}", func(w http.ResponseWriter, r *http.Request) {
		http.ServeFile(w, r, filepath.Join(dir, filepath.Base(r.PathValue("key"))))
	})

	mux.HandleFunc("PUT /ac/{key}", func(w http.ResponseWriter, r *http.Request) {
		if err := keep(dir, filepath.Base(r.PathValue("key")), r.Body); err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		w.WriteHeader(http.StatusCreated)
	})

	s := &http.Server{Addr: args[0], Handler: mux, ReadHeaderTimeout: 10 * time.Second}

	return s.ListenAndServe()
}

func keep(dir, name string, body io.Reader) error {
	f, err := os.CreateTemp(dir, "put-*")
	if err != nil {
		return err
	}
	_, err = io.Copy(f, body)
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	return os.Rename(f.Name(), filepath.Join(dir, name))
}

// fileServer starts the floor.
func (b *bench) fileServer() (*process, string, error) {
	dir := filepath.Join(b.dir, "files")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, "", err
	}

	self, err := os.Executable()
	if err != nil {
		return nil, "", err
	}

	port, err := freePort("127.0.0.1")
	if err != nil {
		return nil, "", err
	}

	addr := net.JoinHostPort("127.0.0.1", strconv.Itoa(port))
	p, err := start(os.Environ(), filepath.Join(b.dir, "files.log"), self, fileServerCommand, addr, dir)
	if err != nil {
		return nil, "", err
	}

	err = eventually(10*time.Second, 10*time.Millisecond, func() error {
		conn, err := net.Dial("tcp", addr)
		if err != nil {
			return fmt.Errorf("%w: %s", err, p.output())
		}
		return conn.Close()
	})
	if err != nil {
		p.kill()
		return nil, "", err
	}

	return p, "http://" + addr, nil
}

// burst is what the clients did at once: how long it took in all, and each of
// the calls.
type burst struct {
	calls []time.Duration
	all   time.Duration
}

// remember adds a burst: its calls go together with those of the rounds before.
func (s *burst) remember(x burst) { s.calls, s.all = append(s.calls, x.calls...), s.all+x.all }

// say formats rate, median and the 99th percentile.
func (s *burst) say() string {
	return fmt.Sprintf("%.0f/s, half within %s, 99 %% within %s", float64(len(s.calls))/s.all.Seconds(), ms(median(s.calls)), ms(percentile(s.calls, 99)))
}

// crowd has every client make its calls, one after the other, all clients at once.
// Client i talks to the server at place i+shift.
func (b *bench) crowd(client *http.Client, urls []string, token, method string, shift, round, size, count int) (burst, error) {
	out := make([][]time.Duration, cacheClients)
	var g errgroup.Group
	begin := time.Now()

	for i := range cacheClients {
		g.Go(func() error {
			rng := rand.New(rand.NewPCG(uint64(i), uint64(round)))
			body := make([]byte, size)
			for k := range size / 8 {
				binary.LittleEndian.PutUint64(body[8*k:], rng.Uint64())
			}

			for k := range count {
				binary.LittleEndian.PutUint64(body, uint64(k))
				key := sha256.Sum256(fmt.Appendf(nil, "%d %d %d %d", size, round, i, k))
				url := urls[(i+shift)%len(urls)] + "/ac/" + hex.EncodeToString(key[:])
				one := time.Now()
				if err := entryCall(client, token, method, url, body); err != nil {
					return err
				}
				out[i] = append(out[i], time.Since(one))
			}

			return nil
		})
	}

	err := g.Wait()

	s := burst{all: time.Since(begin)}
	for _, list := range out {
		s.calls = append(s.calls, list...)
	}

	return s, err
}

// entryCall puts an entry, or gets it and compares.
func entryCall(client *http.Client, token, method, url string, body []byte) error {
	var in io.Reader
	if method == http.MethodPut {
		in = bytes.NewReader(body)
	}

	req, err := http.NewRequest(method, url, in)
	if err != nil {
		return err
	}

	req.Header.Set("Authorization", "Bearer "+token)

	resp, err := client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()

	got, err := io.ReadAll(resp.Body)
	if err == nil && (resp.StatusCode >= 300 || method == http.MethodGet && !bytes.Equal(got, body)) {
		err = fmt.Errorf("%s %s: %s, %d bytes: %.200s", method, url, resp.Status, len(got), got)
	}

	return err
}

// toolCache puts and gets entries of other tools.
func (b *bench) toolCache() error {
	c, err := b.p.startCluster("cache", 3)
	if err != nil {
		return err
	}
	defer c.stop()

	floor, floorURL, err := b.fileServer()
	if err != nil {
		return err
	}
	defer floor.stop(syscall.SIGKILL, time.Second)

	var urls []string
	for _, a := range c.agents {
		urls = append(urls, a.url)
	}

	tr := &http.Transport{MaxIdleConnsPerHost: cacheClients, DisableCompression: true}
	defer tr.CloseIdleConnections()

	client := &http.Client{Transport: tr, Timeout: time.Minute}
	for _, e := range entrySizes {
		ways := []struct {
			name, method string
			shift        int
			s            series
			ours, bare   burst
		}{
			{name: "put", method: http.MethodPut},
			{name: "get through another node", method: http.MethodGet, shift: 1},
			{name: "get from a node that has it", method: http.MethodGet, shift: 1},
		}

		err := b.repeat(b.rounds, func(round int) error {
			for i := range ways {
				w := &ways[i]
				bare, err := b.crowd(client, []string{floorURL}, "", w.method, 0, round, e.size, e.count)
				if err != nil {
					return fmt.Errorf("floor: %w", err)
				}
				ours, err := b.crowd(client, urls, c.token, w.method, w.shift, round, e.size, e.count)
				if err != nil {
					return err
				}
				w.s.add(float64(ours.all)/float64(len(ours.calls)), float64(bare.all)/float64(len(bare.calls)))
				w.ours.remember(ours)
				w.bare.remember(bare)
			}

			return nil
		})
		if err != nil {
			return err
		}

		for _, w := range ways {
			b.report.lines = append(b.report.lines, ratioLine("", fmt.Sprintf("remote cache, %s, %s, %d clients: time an entry / file server", e.name, w.name, cacheClients), w.s, 0, 0))
			b.report.peers = append(b.report.peers, fmt.Sprintf("remote cache, %s, %s: %s; the file server: %s", e.name, w.name, w.ours.say(), w.bare.say()))
		}
	}

	return nil
}
