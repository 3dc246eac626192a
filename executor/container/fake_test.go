package container_test

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/pipelined/pipelined/executor/container"
)

// object is a JSON object of the engine's interface.
type object = map[string]any

// fake is an engine that speaks the calls that this package makes. Its containers are
// functions.
type fake struct {
	host string
	srv  *httptest.Server

	mu sync.Mutex // guards following
	// calls are the requests, without the version, in order; the health checks of
	// services and pings are not among them.
	calls []string
	// images are those that are there, by name, with what they run; registry those
	// that can be pulled.
	images, registry map[string]program
	// auth is the header of the last pull, refuse the status that pulls get, deny the one
	// of the question whether the registry has an image.
	auth         string
	refuse, deny int
	boxes        map[string]*box
	order        []string
	// invalid is what is wrong with each container that is to be made.
	invalid string
	// firstChecks are the checks of the first container.
	firstChecks []int
	// networks are labels by name.
	networks map[string]map[string]string
	// info is the engine's description of itself; version too.
	info, version object
	// busy are containers whose removal is already under way.
	busy map[string]bool
	// hijacked are connections that the server does not know any more.
	hijacked []net.Conn
}

// program is what a container does: it gives output and exit code.
type program func(b *box) (string, int)

// box is a container.
type box struct {
	id   string
	made struct {
		Image, WorkingDir, User string
		Entrypoint, Cmd, Env    []string
		Labels                  map[string]string
		HostConfig              struct {
			NetworkMode string
			Memory      int64
			NanoCpus    int64
			LogConfig   struct{ Type string }
			Mounts      []struct {
				Source, Target string
				ReadOnly       bool
			}
		}
		NetworkingConfig struct {
			EndpointsConfig map[string]struct{ Aliases []string }
		}
	}
	conn    net.Conn
	kills   chan string
	done    chan struct{}
	started bool
	ended   bool
	code    int
	oom     bool
	output  string
	// checks are the exit codes of its health checks, one after another.
	checks []int
}

func newFake(t *testing.T) *fake {
	t.Helper()
	dir, err := os.MkdirTemp("", "engine-") // the path of a socket is short
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	l, err := net.Listen("unix", filepath.Join(dir, "sock"))
	if err != nil {
		t.Fatal(err)
	}
	f := &fake{host: "unix://" + filepath.Join(dir, "sock"), images: map[string]program{}, registry: map[string]program{}, boxes: map[string]*box{},
		networks: map[string]map[string]string{}, busy: map[string]bool{}, info: object{}, version: object{"Version": "28.2", "ApiVersion": "1.44"}}
	f.srv = &httptest.Server{Listener: l, Config: &http.Server{Handler: f.handler()}}
	f.srv.Start()
	t.Cleanup(f.die)
	return f
}

// die ends the engine, and every connection.
func (f *fake) die() {
	f.mu.Lock()
	for _, c := range f.hijacked {
		_ = c.Close()
	}
	f.mu.Unlock()
	_ = f.srv.Config.Close()
}

// engine connects to it.
func (f *fake) engine(t *testing.T) *container.Engine {
	t.Helper()
	e, err := container.Find(t.Context(), f.host)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(e.Close)
	return e
}

// called gives the calls that there were, and forgets them.
func (f *fake) called() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	list := f.calls
	f.calls = nil
	return list
}

func (f *fake) handler() http.Handler {
	mux := http.NewServeMux()
	on := func(pattern string, handle func(w http.ResponseWriter, r *http.Request)) {
		mux.HandleFunc(pattern, handle)
	}
	on("/_ping", func(w http.ResponseWriter, _ *http.Request) { w.Header().Set("Api-Version", "1.44") })
	on("GET /version", func(w http.ResponseWriter, _ *http.Request) { reply(w, f.version) })
	on("GET /info", func(w http.ResponseWriter, _ *http.Request) { reply(w, f.info) })
	on("GET /images/{name...}", f.inspectImage)
	on("POST /images/create", f.pull)
	on("GET /distribution/{name...}", func(w http.ResponseWriter, r *http.Request) {
		f.mu.Lock()
		defer f.mu.Unlock()
		if r.Header.Get("X-Registry-Auth") != f.auth {
			fail(w, http.StatusBadRequest, "another user")
			return
		}
		fail(w, f.deny, "denied")
	})
	on("POST /containers/create", f.create)
	on("POST /containers/{id}/attach", f.box(f.attach))
	on("POST /containers/{id}/wait", f.box(f.wait))
	on("POST /containers/{id}/start", f.box(f.start))
	on("POST /containers/{id}/kill", f.box(func(b *box, w http.ResponseWriter, r *http.Request) {
		b.kills <- r.URL.Query().Get("signal")
		w.WriteHeader(http.StatusNoContent)
	}))
	on("GET /containers/{id}/json", f.box(f.inspect))
	on("GET /containers/{id}/logs", f.box(func(b *box, w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(frame(b.output)) }))
	on("DELETE /containers/{id}", f.box(f.remove))
	on("GET /containers/json", f.list)
	on("POST /containers/{id}/exec", f.box(func(b *box, w http.ResponseWriter, _ *http.Request) { reply(w, object{"Id": b.id}) }))
	on("POST /exec/{id}/start", f.box(func(_ *box, w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		conn := f.hijack(w)
		upgrade(conn)
		_, _ = conn.Write(frame("checked\n"))
		_ = conn.Close()
	}))
	on("GET /exec/{id}/json", f.box(f.inspectExec))
	on("GET /events", func(http.ResponseWriter, *http.Request) {})
	on("GET /networks", f.listNetworks)
	on("POST /networks/create", f.createNetwork)
	on("DELETE /networks/{name}", func(w http.ResponseWriter, r *http.Request) {
		f.mu.Lock()
		defer f.mu.Unlock()
		delete(f.networks, r.PathValue("name"))
		w.WriteHeader(http.StatusNoContent)
	})
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasPrefix(r.URL.Path, "/v1.") {
			r.URL.Path = r.URL.Path[strings.Index(r.URL.Path[1:], "/")+1:]
		}
		if r.URL.Path != "/_ping" && !strings.Contains(r.URL.Path, "exec") {
			f.mu.Lock()
			f.calls = append(f.calls, r.Method+" "+r.URL.Path)
			f.mu.Unlock()
		}
		mux.ServeHTTP(w, r)
	})
}

func reply(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(v)
}

func fail(w http.ResponseWriter, status int, text string) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(object{"message": text})
}

// frame is output as the engine sends it.
func frame(text string) []byte {
	return append(binary.BigEndian.AppendUint32([]byte{1, 0, 0, 0}, uint32(len(text))), text...)
}

// box finds the container of a request.
func (f *fake) box(handle func(b *box, w http.ResponseWriter, r *http.Request)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		f.mu.Lock()
		b := f.boxes[r.PathValue("id")]
		f.mu.Unlock()
		if b == nil {
			fail(w, http.StatusNotFound, "no such container")
			return
		}
		handle(b, w, r)
	}
}

func (f *fake) hijack(w http.ResponseWriter) net.Conn {
	conn, _, err := w.(http.Hijacker).Hijack()
	if err != nil {
		panic(err)
	}
	f.mu.Lock()
	f.hijacked = append(f.hijacked, conn)
	f.mu.Unlock()
	return conn
}

// upgrade answers the request of a connection: from then on it carries output.
func upgrade(conn net.Conn) {
	fmt.Fprint(conn, "HTTP/1.1 101 UPGRADED\r\nContent-Type: application/vnd.docker.multiplexed-stream\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\n")
}

func (f *fake) inspectImage(w http.ResponseWriter, r *http.Request) {
	name := strings.TrimSuffix(r.PathValue("name"), "/json")
	f.mu.Lock()
	defer f.mu.Unlock()
	if _, ok := f.images[name]; !ok {
		fail(w, http.StatusNotFound, "no such image: "+name)
		return
	}
	reply(w, object{"Id": "id of " + name, "RepoDigests": []string{name + "@digest of " + name}})
}

func (f *fake) pull(w http.ResponseWriter, r *http.Request) {
	name := strings.TrimPrefix(strings.TrimPrefix(r.URL.Query().Get("fromImage"), "docker.io/"), "library/") + ":" + r.URL.Query().Get("tag")
	f.mu.Lock()
	defer f.mu.Unlock()
	f.auth = r.Header.Get("X-Registry-Auth")
	switch program, ok := f.registry[name]; {
	case f.refuse != 0:
		fail(w, f.refuse, "refused")
	case !ok:
		fail(w, http.StatusNotFound, "no such image in the registry")
	default:
		f.images[name] = program
		reply(w, object{"status": "done"})
	}
}

func (f *fake) create(w http.ResponseWriter, r *http.Request) {
	f.mu.Lock()
	defer f.mu.Unlock()
	b := &box{id: fmt.Sprintf("box%d", len(f.order)+1), kills: make(chan string, 1), done: make(chan struct{})}
	if err := json.NewDecoder(r.Body).Decode(&b.made); err != nil {
		fail(w, http.StatusBadRequest, err.Error())
		return
	}
	if f.invalid != "" {
		fail(w, http.StatusBadRequest, f.invalid)
		return
	}
	if len(f.order) == 0 {
		b.checks = f.firstChecks
	}
	f.boxes[b.id] = b
	f.order = append(f.order, b.id)
	w.WriteHeader(http.StatusCreated)
	reply(w, object{"Id": b.id})
}

func (f *fake) attach(b *box, w http.ResponseWriter, _ *http.Request) {
	conn := f.hijack(w)
	f.mu.Lock()
	b.conn = conn
	f.mu.Unlock()
	upgrade(conn)
}

func (f *fake) wait(b *box, w http.ResponseWriter, r *http.Request) {
	w.WriteHeader(http.StatusOK)
	w.(http.Flusher).Flush()
	select {
	case <-b.done:
		f.mu.Lock()
		defer f.mu.Unlock()
		reply(w, object{"StatusCode": b.code})
	case <-r.Context().Done():
	}
}

func (f *fake) start(b *box, w http.ResponseWriter, _ *http.Request) {
	f.mu.Lock()
	run := f.images[strings.TrimPrefix(b.made.Image, "id of ")]
	b.started = run != nil
	if run == nil {
		b.code, b.ended = 127, true
	}
	f.mu.Unlock()
	if run == nil {
		fail(w, http.StatusBadRequest, "no such program")
		return
	}
	w.WriteHeader(http.StatusNoContent)
	go func() { // ends with the program, which a test ends
		out, code := run(b)
		f.mu.Lock()
		defer f.mu.Unlock()
		b.output, b.code, b.ended = out, code, true
		if b.conn != nil {
			_, _ = b.conn.Write(frame(out))
			_ = b.conn.Close()
		}
		close(b.done)
	}()
}

func (f *fake) inspect(b *box, w http.ResponseWriter, _ *http.Request) {
	f.mu.Lock()
	defer f.mu.Unlock()
	reply(w, object{"Id": b.id, "State": object{"Running": b.started && !b.ended, "ExitCode": b.code, "OOMKilled": b.oom}})
}

func (f *fake) inspectExec(b *box, w http.ResponseWriter, _ *http.Request) {
	f.mu.Lock()
	defer f.mu.Unlock()
	code := 0
	if len(b.checks) > 0 {
		code, b.checks = b.checks[0], b.checks[1:]
	}
	reply(w, object{"ID": b.id, "ExitCode": code})
}

func (f *fake) remove(b *box, w http.ResponseWriter, _ *http.Request) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.busy[b.id] {
		fail(w, http.StatusConflict, "removal of container is already in progress")
		return
	}
	delete(f.boxes, b.id)
	w.WriteHeader(http.StatusNoContent)
}

// wanted reads the label that a list is restricted to.
func wanted(r *http.Request) func(labels map[string]string) bool {
	var filters struct{ Label map[string]bool }
	_ = json.Unmarshal([]byte(r.URL.Query().Get("filters")), &filters)
	return func(labels map[string]string) bool {
		for pair := range filters.Label {
			key, value, _ := strings.Cut(pair, "=")
			if labels[key] != value {
				return false
			}
		}
		return true
	}
}

func (f *fake) list(w http.ResponseWriter, r *http.Request) {
	f.mu.Lock()
	defer f.mu.Unlock()
	list, fits := []object{}, wanted(r)
	for _, id := range f.order {
		if b := f.boxes[id]; b != nil && fits(b.made.Labels) {
			list = append(list, object{"Id": id, "Labels": b.made.Labels})
		}
	}
	reply(w, list)
}

func (f *fake) listNetworks(w http.ResponseWriter, r *http.Request) {
	f.mu.Lock()
	defer f.mu.Unlock()
	list, fits := []object{}, wanted(r)
	for name, labels := range f.networks {
		if fits(labels) {
			list = append(list, object{"Id": name, "Name": name, "Labels": labels})
		}
	}
	reply(w, list)
}

func (f *fake) createNetwork(w http.ResponseWriter, r *http.Request) {
	var in struct {
		Name   string
		Labels map[string]string
	}
	_ = json.NewDecoder(r.Body).Decode(&in)
	f.mu.Lock()
	defer f.mu.Unlock()
	f.networks[in.Name] = in.Labels
	w.WriteHeader(http.StatusCreated)
	reply(w, object{"Id": in.Name})
}

// left are the containers and networks that are there.
func (f *fake) left() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	var list []string
	for _, b := range f.boxes {
		list = append(list, b.made.Labels["pipelined.node"]+" "+b.made.Labels["pipelined.attempt"])
	}
	for name := range f.networks {
		list = append(list, name)
	}
	slices.Sort(list)
	return list
}
