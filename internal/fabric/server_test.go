package fabric_test

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"slices"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/pipelined/pipelined/internal/fabric"
	"github.com/pipelined/pipelined/pipeline"
	"github.com/pipelined/pipelined/storage/blob"
)

// get asks a node for a part of a blob as another node would.
func (t *testNode) get(query string) (status int, coding string, body []byte) {
	t.net.tb.Helper()
	res, err := http.Get(t.url + "/peer/blob?" + query)
	if err != nil {
		t.net.tb.Fatal(err)
	}
	defer res.Body.Close()
	body, err = io.ReadAll(res.Body)
	if err != nil {
		t.net.tb.Fatal(err)
	}
	return res.StatusCode, res.Header.Get("Content-Encoding"), body
}

// A request for a part that cannot be is refused with its reason, and not with a
// part of something else.
func TestServer_blob_refused(t *testing.T) {
	n := newNetwork(t, "n1")
	d := n.nodes["n1"].put(noise(1000, 1))
	for query, want := range map[string]int{
		"":                                 400,
		"digest=xyz&from=0&to=10":          400,
		fmt.Sprintf("digest=%s&from=0", d): 400,
		fmt.Sprintf("digest=%s&from=-1&to=10", d):               400,
		fmt.Sprintf("digest=%s&from=10&to=10", d):               400,
		fmt.Sprintf("digest=%s&from=0&to=1001", d):              400,
		fmt.Sprintf("digest=%s&from=0&to=99999999999999999", d): 400,
		fmt.Sprintf("digest=%s&from=0&to=10", digest("none")):   404,
	} {
		if status, _, body := n.nodes["n1"].get(query); status != want || len(body) == 0 {
			t.Errorf("%s: status %d, want %d: %s", query, status, want, body)
		}
	}
}

// A part is compressed if its beginning shrinks, and comes as it is otherwise.
func TestServer_blob_coding(t *testing.T) {
	n := newNetwork(t, "n1")
	text, random := bytes.Repeat([]byte("again "), 50_000), noise(300_000, 2)
	for name, body := range map[string][]byte{"": random, "zstd": text} {
		d := n.nodes["n1"].put(body)
		status, coding, got := n.nodes["n1"].get(fmt.Sprintf("digest=%s&from=100&to=200100", d))
		if status != 200 || coding != name {
			t.Errorf("status %d, coding %q, want %q", status, coding, name)
		}
		if name == "" && !bytes.Equal(got, body[100:200_100]) {
			t.Error("other bytes")
		}
		if name != "" && len(got) > 20_000 {
			t.Errorf("%d bytes of 200,000 that repeat", len(got))
		}
	}
}

// A damaged blob is not sent: the other side asks elsewhere, and the store here
// reports it.
func TestServer_blob_damaged(t *testing.T) {
	n := newNetwork(t, "n1")
	d := n.nodes["n1"].put(noise(100_000, 3))
	n.nodes["n1"].damage(d)
	if status, _, body := n.nodes["n1"].get(fmt.Sprintf("digest=%s&from=0&to=100000", d)); status != 404 {
		t.Errorf("status %d, %d bytes", status, len(body))
	}
	if got := n.nodes["n1"].reported(); !slices.Equal(got, []pipeline.Digest{d}) {
		t.Errorf("reported %v", got)
	}
}

// A node that has none of the blobs says so; it does not send an empty bundle.
func TestServer_bundle_none(t *testing.T) {
	n := newNetwork(t, "n1", "n2")
	err := n.nodes["n1"].Call(t.Context(), "n2", "/peer/blobs/get", []pipeline.Digest{digest("none")}, nil)
	if pipeline.KindOf(err) != pipeline.NotFound {
		t.Errorf("error %v, want not_found", err)
	}
}

// What is no bundle is refused, and nothing of it is stored.
func TestServer_bundle_garbage(t *testing.T) {
	n := newNetwork(t, "n1")
	for _, body := range []string{"", "garbage", "pipelined"} {
		res, err := http.Post(n.nodes["n1"].url+"/peer/bundle", "", bytes.NewReader([]byte(body)))
		if err != nil {
			t.Fatal(err)
		}
		res.Body.Close()
		if res.StatusCode < 400 {
			t.Errorf("%q: status %d", body, res.StatusCode)
		}
	}
	var blobs int
	if err := n.nodes["n1"].blobs.Walk(t.Context(), func(blob.Info) error { blobs++; return nil }); err != nil || blobs > 0 {
		t.Errorf("%d blobs, %v", blobs, err)
	}
}

// CleanAt tells which copies another node verified.
func TestDownloader_CleanAt(t *testing.T) {
	n := newNetwork(t, "n1", "n2")
	good, bad := n.nodes["n2"].put(noise(1000, 1)), n.nodes["n2"].put(noise(1000, 2))
	n.nodes["n2"].damage(bad)
	got, err := n.nodes["n1"].down.CleanAt(t.Context(), "n2", []pipeline.Digest{good, bad, digest("none")})
	if err != nil || !slices.Equal(got, []pipeline.Digest{good}) {
		t.Errorf("clean %v, %v; want %.12s", got, err, good)
	}
}

// Listing keeps what it read: a second time no node is asked.
func TestDownloader_Listing(t *testing.T) {
	n := newNetwork(t, "n1", "n2")
	root := n.nodes["n2"].putTree(map[string]pipeline.Digest{"a": n.nodes["n2"].put([]byte("a"))})
	for range 2 {
		tree, err := n.nodes["n1"].down.Listing(t.Context(), []pipeline.NodeID{"n2"}, root)
		if err != nil || tree.Find("a") == nil {
			t.Fatalf("%v, %v", tree, err)
		}
	}
	if got := n.count("/peer/blobs/get"); got != 1 {
		t.Errorf("%d downloads, want 1", got)
	}
	if _, err := n.nodes["n1"].down.Listing(t.Context(), nil, digest("none")); pipeline.KindOf(err) != pipeline.NotFound {
		t.Errorf("a tree that is nowhere: %v", err)
	}
}

// While a client uploads a large blob, a download of the same one waits for it and
// brings no second copy.
func TestDownloader_Fetch_clientUploads(t *testing.T) {
	n := newNetwork(t, "n1", "n2")
	body := noise(8*mib, 9)
	d := n.nodes["n2"].put(body)
	part, err := n.nodes["n1"].blobs.Partial(d, int64(len(body)))
	if err != nil {
		t.Fatal(err)
	}

	done := make(chan error, 1)
	go func() { done <- n.nodes["n1"].down.Fetch(t.Context(), nil, []pipeline.Digest{d}) }()
	if _, err := part.Fill(t.Context(), 0, int64(len(body)), bytes.NewReader(body)); err != nil {
		t.Fatal(err)
	}
	if err := part.Commit(t.Context()); err != nil {
		t.Fatal(err)
	}
	part.Close()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	n.nodes["n1"].wantBytes(d, body)
	if got := n.count("/peer/blob"); got > 0 {
		t.Errorf("%d ranges were downloaded beside the upload", got)
	}
}

// Copies that no module waits for keep to their rate.
func TestDownloader_FetchCopies_rate(t *testing.T) {
	n := newNetwork(t, "n1", "n2")
	slow := fabric.NewDownloader(fabric.DownloaderConfig{Self: "n1", Blobs: n.nodes["n1"].blobs, Peers: n.nodes["n1"], Members: n.nodes["n1"],
		CopyRate: 1 << 20, Logger: hclog.NewNullLogger()})
	body := noise(1<<20, 4)
	d := n.nodes["n2"].put(body)

	began := time.Now()
	if err := slow.FetchCopies(t.Context(), []pipeline.NodeID{"n2"}, []pipeline.Digest{d}); err != nil {
		t.Fatal(err)
	}
	// A lower bound: a slow machine cannot fail it.
	if took := time.Since(began); took < 500*time.Millisecond {
		t.Errorf("1 MiB came in %v at 1 MiB a second", took)
	}
	n.nodes["n1"].wantBytes(d, body)
}
