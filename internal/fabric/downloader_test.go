package fabric_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"

	"github.com/pipelined/pipelined/internal/fabric"
	"github.com/pipelined/pipelined/pipeline"
	"github.com/pipelined/pipelined/storage/blob"
	"github.com/pipelined/pipelined/storage/tree"
)

const mib = 1 << 20

// The usual case: a hint is right, and one request brings all small blobs.
func TestDownloader_Fetch_hint(t *testing.T) {
	n := newNetwork(t, "n1", "n2", "n3")
	want := n.nodes["n2"].putMany("small", 100)

	if err := n.nodes["n1"].down.Fetch(t.Context(), []pipeline.NodeID{"n2"}, want); err != nil {
		t.Fatal(err)
	}
	n.nodes["n1"].wantAll(want)
	if got := n.count("/peer/blobs/get"); got != 1 {
		t.Errorf("%d requests for bundles, want 1", got)
	}
	if got := n.count("/peer/sizes"); got != 0 {
		t.Errorf("%d questions to all nodes, want none", got)
	}
}

// A wrong hint costs one request, a dead one none; the blobs come from where
// they are.
func TestDownloader_Fetch_wrongHint(t *testing.T) {
	n := newNetwork(t, "n1", "n2", "n3", "n4")
	a, b := n.nodes["n3"].putMany("a", 3), n.nodes["n4"].putMany("b", 3)
	n.setDown("n2", true)

	want := slices.Concat(a, b)
	if err := n.nodes["n1"].down.Fetch(t.Context(), []pipeline.NodeID{"n2", "n3"}, want); err != nil {
		t.Fatal(err)
	}
	n.nodes["n1"].wantAll(want)
}

// What is on no node is NotFound, but only if every node was asked; what did
// come stays.
func TestDownloader_Fetch_missing(t *testing.T) {
	n := newNetwork(t, "n1", "n2", "n3")
	there := n.nodes["n2"].put([]byte("there"))
	nowhere := blob.DigestOf([]byte("nowhere"))

	err := n.nodes["n1"].down.Fetch(t.Context(), nil, []pipeline.Digest{there, nowhere})
	if pipeline.KindOf(err) != pipeline.NotFound {
		t.Errorf("kind %v of %v, want not_found", pipeline.KindOf(err), err)
	}
	if want := fmt.Sprintf("blob %.12s is on no node that answers", nowhere); fmt.Sprint(err) != want {
		t.Errorf("%v, want %s", err, want)
	}
	n.nodes["n1"].wantAll([]pipeline.Digest{there})

	// A node that counts as alive and does not answer may have it.
	n.nodes["n9"] = &testNode{id: "n9", net: n, url: "http://127.0.0.1:1"}
	err = n.nodes["n1"].down.Fetch(t.Context(), nil, []pipeline.Digest{nowhere})
	if pipeline.KindOf(err) != pipeline.Unavailable {
		t.Errorf("kind %v of %v, want unavailable", pipeline.KindOf(err), err)
	}
}

// Callers that want the same blobs at the same time download them once.
func TestDownloader_Fetch_once(t *testing.T) {
	n := newNetwork(t, "n1", "n2")
	want := n.nodes["n2"].putMany("shared", 20)
	release := make(chan struct{})
	n.hold["n2"] = release

	var wg sync.WaitGroup
	errs := make([]error, 8)
	for i := range errs {
		wg.Add(1)
		go func() {
			defer wg.Done()
			errs[i] = n.nodes["n1"].down.Fetch(t.Context(), []pipeline.NodeID{"n2"}, want)
		}()
	}
	close(release)
	wg.Wait()
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
	n.nodes["n1"].wantAll(want)
	// Late callers find the blobs here; none asks while another is at it.
	if got := n.count("/peer/blobs/get"); got != 1 {
		t.Errorf("%d requests, want 1", got)
	}
}

// The end of one caller is not the end of another that waits for it.
func TestDownloader_Fetch_otherCallerEnds(t *testing.T) {
	n := newNetwork(t, "n1", "n2")
	want := []pipeline.Digest{n.nodes["n2"].put([]byte("x"))}
	release := make(chan struct{})
	n.hold["n2"] = release

	ctx, cancel := context.WithCancel(t.Context())
	first := make(chan error, 1)
	go func() { first <- n.nodes["n1"].down.Fetch(ctx, []pipeline.NodeID{"n2"}, want) }()
	second := make(chan error, 1)
	go func() { second <- n.nodes["n1"].down.Fetch(t.Context(), []pipeline.NodeID{"n2"}, want) }()
	cancel()
	if err := <-first; err == nil {
		t.Log("the first caller was not the one that downloads") // both orders are right
	}
	close(release)
	if err := <-second; err != nil {
		t.Fatal(err)
	}
	n.nodes["n1"].wantAll(want)
}

// A bundle that breaks off: what came whole stays, the rest comes from elsewhere.
func TestDownloader_Fetch_cutBundle(t *testing.T) {
	n := newNetwork(t, "n1", "n2", "n3")
	var want []pipeline.Digest
	for i := range 40 {
		body := noise(32<<10, byte(i))
		want = append(want, n.nodes["n2"].put(body))
		n.nodes["n3"].put(body)
	}
	n.cutAfter("n2", 300<<10)

	if err := n.nodes["n1"].down.Fetch(t.Context(), []pipeline.NodeID{"n2"}, want); err != nil {
		t.Fatal(err)
	}
	n.nodes["n1"].wantAll(want)
}

// A large blob comes in ranges from several holders, compressed or not.
func TestDownloader_Fetch_large(t *testing.T) {
	for name, body := range map[string][]byte{
		"incompressible": noise(40*mib+123, 7),
		"text":           bytes.Repeat([]byte("the same line again and again\n"), 40*mib/30),
	} {
		t.Run(name, func(t *testing.T) {
			n := newNetwork(t, "n1", "n2", "n3")
			d := n.nodes["n2"].put(body)
			n.nodes["n3"].put(body)

			if err := n.nodes["n1"].down.Fetch(t.Context(), nil, []pipeline.Digest{d}); err != nil {
				t.Fatal(err)
			}
			n.nodes["n1"].wantBytes(d, body)
			if got := n.count("/peer/blob"); got < 3 {
				t.Errorf("%d ranges of 40 MiB, want at least 3", got)
			}
		})
	}
}

// A holder breaks off in the middle: another one resumes at that byte.
func TestDownloader_Fetch_largeCut(t *testing.T) {
	n := newNetwork(t, "n1", "n2", "n3")
	body := noise(24*mib, 3)
	d := n.nodes["n2"].put(body)
	n.nodes["n3"].put(body)
	n.cutAfter("n2", 5*mib)

	if err := n.nodes["n1"].down.Fetch(t.Context(), nil, []pipeline.Digest{d}); err != nil {
		t.Fatal(err)
	}
	n.nodes["n1"].wantBytes(d, body)
}

// If all holders fail, what arrived stays, and the next try resumes there.
func TestDownloader_Fetch_largeResumes(t *testing.T) {
	n := newNetwork(t, "n1", "n2")
	body := noise(24*mib, 4)
	d := n.nodes["n2"].put(body)
	n.cutAfter("n2", 10*mib)

	err := n.nodes["n1"].down.Fetch(t.Context(), nil, []pipeline.Digest{d})
	if pipeline.KindOf(err) != pipeline.Unavailable {
		t.Fatalf("kind %v of %v, want unavailable", pipeline.KindOf(err), err)
	}
	arrived, size := n.nodes["n1"].blobs.Arrived(d)
	if size != int64(len(body)) || arrived < 8*mib {
		t.Errorf("%d of %d bytes stayed, want at least 8 MiB", arrived, size)
	}

	if err := n.nodes["n1"].down.Fetch(t.Context(), nil, []pipeline.Digest{d}); err != nil {
		t.Fatal(err)
	}
	n.nodes["n1"].wantBytes(d, body)
}

// A holder whose copy is damaged does not pass it on; its store reports it.
func TestDownloader_Fetch_damagedHolder(t *testing.T) {
	n := newNetwork(t, "n1", "n2", "n3")
	body := noise(300<<10, 5)
	d := n.nodes["n2"].put(body)
	n.nodes["n2"].damage(d)
	n.nodes["n3"].put(body)

	if err := n.nodes["n1"].down.Fetch(t.Context(), []pipeline.NodeID{"n2"}, []pipeline.Digest{d}); err != nil {
		t.Fatal(err)
	}
	n.nodes["n1"].wantBytes(d, body)
	if got := n.nodes["n2"].reported(); !slices.Contains(got, d) {
		t.Errorf("reported as damaged: %v, want %.12s", got, d)
	}
}

// A copy that is found damaged while it is read is replaced, and the reader gets
// right bytes alone.
func TestDownloader_Open_damaged(t *testing.T) {
	n := newNetwork(t, "n1", "n2")
	body := noise(3*mib, 6)
	d := n.nodes["n1"].put(body)
	n.nodes["n2"].put(body)
	n.nodes["n1"].damage(d)

	b, err := n.nodes["n1"].down.Open(t.Context(), nil, d)
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	got, err := io.ReadAll(b)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, body) {
		t.Error("the reader got other bytes")
	}
	if b.Size() != int64(len(body)) {
		t.Errorf("size %d, want %d", b.Size(), len(body))
	}
	n.nodes["n1"].wantBytes(d, body)
}

// Without a good copy the read fails; it never gives damaged bytes.
func TestDownloader_Open_noGoodCopy(t *testing.T) {
	n := newNetwork(t, "n1", "n2")
	body := noise(3*mib, 8)
	d := n.nodes["n1"].put(body)
	n.nodes["n1"].damage(d)

	b, err := n.nodes["n1"].down.Open(t.Context(), nil, d)
	if err == nil {
		var got []byte
		got, err = io.ReadAll(b)
		b.Close()
		if !bytes.HasPrefix(body, got) {
			t.Error("damaged bytes were given out")
		}
	}
	if pipeline.KindOf(err) != pipeline.NotFound {
		t.Errorf("kind %v of %v, want not_found", pipeline.KindOf(err), err)
	}
}

func TestDownloader_ReadTree(t *testing.T) {
	n := newNetwork(t, "n1", "n2")
	file := n.nodes["n2"].put([]byte("contents"))
	root := n.nodes["n2"].putTree(map[string]pipeline.Digest{"a/b": file})

	tree, err := n.nodes["n1"].down.ReadTree(t.Context(), []pipeline.NodeID{"n2"}, root)
	if err != nil {
		t.Fatal(err)
	}
	if e := tree.Find("a/b"); e == nil || e.Digest != file {
		t.Errorf("entry %+v, want the digest %.12s", e, file)
	}

	// Any bytes may be named as a tree by mistake.
	if _, err := n.nodes["n1"].down.ReadTree(t.Context(), nil, file); err == nil {
		t.Error("a file was read as a tree")
	}
}

func TestDownloader_Locate(t *testing.T) {
	n := newNetwork(t, "n1", "n2", "n3")
	here := n.nodes["n1"].put([]byte("here"))
	there := n.nodes["n3"].put([]byte("there"))
	n.nodes["n2"].put([]byte("there"))
	all := []pipeline.NodeID{"n1", "n2", "n3"}

	found, unasked := n.nodes["n1"].down.Locate(t.Context(), all, []pipeline.Digest{here, there})
	if unasked != nil {
		t.Fatal(unasked)
	}
	if got := found[here]; !slices.Equal(got.Holders, []pipeline.NodeID{"n1"}) || got.Size != 4 {
		t.Errorf("here: %+v", got)
	}
	if got := found[there]; !slices.Equal(got.Holders, []pipeline.NodeID{"n2", "n3"}) || got.Size != 5 {
		t.Errorf("there: %+v", got)
	}

	n.setDown("n2", true)
	found, unasked = n.nodes["n1"].down.Locate(t.Context(), all, []pipeline.Digest{there})
	if unasked == nil {
		t.Error("no error although a node was not asked")
	}
	if got := found[there]; !slices.Equal(got.Holders, []pipeline.NodeID{"n3"}) {
		t.Errorf("of those that answered: %+v", got)
	}
}

// FetchAt has the other node, or this one, fetch.
func TestDownloader_FetchAt(t *testing.T) {
	n := newNetwork(t, "n1", "n2", "n3")
	want := n.nodes["n2"].putMany("x", 5)
	for _, to := range []pipeline.NodeID{"n1", "n3"} {
		if err := n.nodes["n1"].down.FetchAt(t.Context(), to, []pipeline.NodeID{"n2"}, want, 50); err != nil {
			t.Fatal(err)
		}
		n.nodes[to].wantAll(want)
	}
}

func TestReceive_cut(t *testing.T) {
	n := newNetwork(t, "n1", "n2")
	want := n.nodes["n1"].putMany("x", 10)
	var bundle bytes.Buffer
	if err := blob.WriteBundle(t.Context(), &bundle, n.nodes["n1"].blobs, want); err != nil {
		t.Fatal(err)
	}

	if _, err := fabric.Receive(t.Context(), n.nodes["n2"].blobs, bytes.NewReader(bundle.Bytes()[:bundle.Len()/2])); err == nil {
		t.Error("half a bundle was taken")
	}
	got, err := fabric.Receive(t.Context(), n.nodes["n2"].blobs, &bundle)
	if err != nil || got != len(want) {
		t.Errorf("%d blobs, %v; want %d", got, err, len(want))
	}
	n.nodes["n2"].wantAll(want)
}

// damage flips a byte of a blob's file.
func (t *testNode) damage(d pipeline.Digest) {
	t.net.tb.Helper()
	var path string
	_ = filepath.WalkDir(t.dir, func(p string, e os.DirEntry, err error) error { // the check below finds a failure
		if err == nil && e.Name() == string(d) {
			path = p
		}
		return nil
	})
	body, err := os.ReadFile(path)
	if err != nil {
		t.net.tb.Fatal(err)
	}
	body[len(body)/2] ^= 1
	if err := os.Chmod(path, 0o600); err != nil {
		t.net.tb.Fatal(err)
	}
	if err := os.WriteFile(path, body, 0o600); err != nil {
		t.net.tb.Fatal(err)
	}
}

func (t *testNode) reported() []pipeline.Digest {
	t.mu.Lock()
	defer t.mu.Unlock()
	return slices.Clone(t.damaged)
}

func (t *testNode) putTree(files map[string]pipeline.Digest) pipeline.Digest {
	t.net.tb.Helper()
	var list tree.Tree
	for _, path := range slices.Sorted(maps.Keys(files)) {
		d := files[path]
		size, err := t.blobs.Size(d)
		if err != nil {
			t.net.tb.Fatal(err)
		}
		list = append(list, pipeline.TreeEntry{Path: path, Digest: d, Size: size, Mode: 0o644})
	}
	raw, err := tree.Encode(list)
	if err != nil {
		t.net.tb.Fatal(err)
	}
	return t.put(raw)
}
