package service_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/hashicorp/go-hclog"

	"github.com/pipelined/pipelined/api/wire"
	"github.com/pipelined/pipelined/fsm"
	"github.com/pipelined/pipelined/internal/fabric"
	"github.com/pipelined/pipelined/internal/service"
	"github.com/pipelined/pipelined/pipeline"
	"github.com/pipelined/pipelined/storage/blob"
	"github.com/pipelined/pipelined/storage/tree"
)

func newBlobs(t *testing.T) *blob.Store {
	t.Helper()
	blobs, err := blob.Open(t.TempDir(), blob.Options{NoSync: true, LowWater: -1})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = blobs.Close() }) // nothing is lost
	return blobs
}

func put(t *testing.T, blobs *blob.Store, text string) pipeline.Digest {
	t.Helper()
	d, err := blobs.PutBytes(t.Context(), []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// putTree stores files that contain their paths, and the listing with the extra
// entries, which must come last.
func putTree(t *testing.T, blobs *blob.Store, extra tree.Tree, paths ...string) pipeline.Digest {
	t.Helper()
	var list tree.Tree
	for _, path := range paths {
		list = append(list, pipeline.TreeEntry{Path: path, Mode: 0o644, Size: int64(len(path)), Digest: put(t, blobs, path)})
	}
	root, err := tree.Put(t.Context(), blobs, append(list, extra...))
	if err != nil {
		t.Fatal(err)
	}
	return root
}

// alone is a fabric of one node: no other has anything.
type alone struct{}

func (alone) Call(context.Context, pipeline.NodeID, string, any, any) error {
	return errors.New("there is no other node")
}

func (alone) Bulk(context.Context, pipeline.NodeID, string, string, io.Reader) (*http.Response, error) {
	return nil, errors.New("there is no other node")
}

func (alone) Others(...pipeline.NodeID) []pipeline.NodeID { return nil }

func (alone) NodeName(id pipeline.NodeID) string { return string(id) }

func newDownloader(blobs *blob.Store) *fabric.Downloader {
	return fabric.NewDownloader(fabric.DownloaderConfig{Self: "n1", Blobs: blobs, Trees: tree.NewCache(blobs), Peers: alone{}, Members: alone{}, Logger: hclog.NewNullLogger()})
}

func newBlobService(store *blob.Store) *service.Blobs {
	return service.NewBlobs(store, tree.NewCache(store), newDownloader(store))
}

// outputs makes a run of modules a and b that left trees, and of c, which left
// nothing.
func outputs(r *rig, a, b pipeline.Digest) pipeline.RunID {
	r.tb.Helper()
	run := r.newRun(chain)
	for module, root := range map[string]pipeline.Digest{"a": a, "b": b} {
		id := r.assign(run, module, "w1", nil)
		r.finish(id, pipeline.Outcome{State: pipeline.AttemptSucceeded, Outputs: root, Holders: []pipeline.NodeID{"n1"}}, pipeline.ModuleSucceeded)
	}
	r.succeed(run, "c", "alone")
	return run
}

func read(t *testing.T, in io.ReadCloser) string {
	t.Helper()
	defer in.Close()
	raw, err := io.ReadAll(in)
	if err != nil {
		t.Fatal(err)
	}
	return string(raw)
}

// Lists have the files of all modules or of one; directories are not listed.
func TestArtifacts_Artifacts(t *testing.T) {
	r, blobs := newRig(t), newBlobs(t)
	run := outputs(r, putTree(t, blobs, tree.Tree{{Path: "z", Mode: 0o755, Dir: true}}, "bin/app", "doc"), putTree(t, blobs, nil, "report"))
	artifacts := service.NewArtifacts(r.state, newDownloader(blobs))
	for module, want := range map[string][]string{"": {"a:bin/app", "a:doc", "b:report"}, "b": {"b:report"}, "c": nil} {
		list, err := artifacts.Artifacts(t.Context(), run, module)
		var got []string
		for _, one := range list.Artifacts {
			got = append(got, one.Module+":"+one.Path)
		}
		if err != nil || !slices.Equal(got, want) || list.Artifacts == nil {
			t.Errorf("module %q: %v, %v; want %v", module, got, err, want)
		}
	}

	_, err := artifacts.Artifacts(t.Context(), run, "d")
	wantError(t, "no such module", err, pipeline.NotFound, `no module "d"`)
	_, err = artifacts.Artifacts(t.Context(), "none", "")
	wantError(t, "no such run", err, pipeline.NotFound, "no run none")
}

func TestArtifacts_OpenArtifact(t *testing.T) {
	r, blobs := newRig(t), newBlobs(t)
	run := outputs(r, putTree(t, blobs, tree.Tree{{Path: "link", Mode: 0o777, Link: "bin/app"}, {Path: "z", Mode: 0o755, Dir: true}}, "bin/app"),
		putTree(t, blobs, nil, "lost"))
	artifacts := service.NewArtifacts(r.state, newDownloader(blobs))
	in, info, err := artifacts.OpenArtifact(t.Context(), run, "a", "bin/app")
	if err != nil || info.Size != 7 || info.Mode != 0o644 || info.Module != "a" || read(t, in) != "bin/app" {
		t.Errorf("got %+v, %v", info, err)
	}

	open := func(module, path string) error {
		_, _, err := artifacts.OpenArtifact(t.Context(), run, module, path)
		return err
	}
	wantError(t, "a link", open("a", "link"), pipeline.Invalid, "link to bin/app")
	for what, path := range map[string]string{"unknown": "none", "a directory": "z", "a parent": "bin", "out of the tree": "../bin/app", "nothing": ""} {
		wantError(t, what, open("a", path), pipeline.NotFound, "module a of run")
	}
	wantError(t, "a module that left nothing", open("c", "bin/app"), pipeline.NotFound, "no output")
	wantError(t, "no such module", open("d", "bin/app"), pipeline.NotFound, `no module "d"`)

	// What is lost was there: that is not NotFound.
	if err := blobs.Delete(blob.DigestOf([]byte("lost"))); err != nil {
		t.Fatal(err)
	}
	wantError(t, "lost bytes", open("b", "lost"), pipeline.Conflict, `output "lost" of module b`, "run the module again")
}

func TestArtifacts_lostListing(t *testing.T) {
	r, blobs := newRig(t), newBlobs(t)
	run := outputs(r, blob.DigestOf([]byte("a listing that is gone")), putTree(t, blobs, nil, "report"))
	artifacts := service.NewArtifacts(r.state, newDownloader(blobs))
	_, err := artifacts.Artifacts(t.Context(), run, "")
	wantError(t, "list", err, pipeline.Conflict, "the listing of what module a left")
	_, _, err = artifacts.OpenArtifact(t.Context(), run, "a", "report")
	wantError(t, "open", err, pipeline.Conflict, "the listing of what module a left")
	if list, err := artifacts.Artifacts(t.Context(), run, "b"); err != nil || len(list.Artifacts) != 1 {
		t.Errorf("the other module: %+v, %v", list, err)
	}
}

// Artifacts that a limit deleted are not reported as lost.
func TestArtifacts_expired(t *testing.T) {
	r, blobs := newRig(t), newBlobs(t)
	root := putTree(t, blobs, nil, "report")
	run := outputs(r, root, root)
	r.endRun(run, pipeline.RunSucceeded)
	r.apply(&fsm.Command{Expire: &fsm.Expire{Artifacts: []pipeline.RunID{run}}})
	artifacts := service.NewArtifacts(r.state, newDownloader(blobs))
	_, err := artifacts.Artifacts(t.Context(), run, "")
	wantError(t, "list", err, pipeline.NotFound, "no longer kept", "pipelined pin")
	_, _, err = artifacts.OpenArtifact(t.Context(), run, "a", "report")
	wantError(t, "open", err, pipeline.NotFound, "no longer kept")
}

func TestBlobs_OpenBlob(t *testing.T) {
	store := newBlobs(t)
	blobs := newBlobService(store)
	here, nowhere := put(t, store, "text"), blob.DigestOf([]byte("nowhere"))
	for _, local := range []bool{true, false} {
		in, err := blobs.OpenBlob(t.Context(), here, local)
		if err != nil || in.Size() != 4 || read(t, in) != "text" {
			t.Errorf("local %v: %v", local, err)
		}
	}
	_, err := blobs.OpenBlob(t.Context(), nowhere, true)
	wantError(t, "local", err, pipeline.NotFound, "is not on this node")
	_, err = blobs.OpenBlob(t.Context(), nowhere, false)
	wantError(t, "anywhere", err, pipeline.NotFound, "on no node that answers")
}

// Bytes are stored under their own digest only.
func TestBlobs_PutBlob(t *testing.T) {
	store := newBlobs(t)
	blobs := newBlobService(store)
	d := blob.DigestOf([]byte("text"))
	err := blobs.PutBlob(t.Context(), d, strings.NewReader("other text"))
	wantError(t, "other bytes", err, pipeline.Invalid)
	if store.Has(d) {
		t.Error("other bytes were stored")
	}
	for range 2 { // again changes nothing
		if err := blobs.PutBlob(t.Context(), d, strings.NewReader("text")); err != nil || !store.Has(d) {
			t.Errorf("got %v", err)
		}
	}
}

// An upload that was cut resumes where it stopped, and nowhere else.
func TestBlobs_PutBlobPart(t *testing.T) {
	store := newBlobs(t)
	blobs := newBlobService(store)
	text := strings.Repeat("0123456789abcdef", 3*blob.BlockSize/16) + "end"
	d, total := blob.DigestOf([]byte(text)), int64(len(text))
	if got := blobs.ArrivedBlobs(t.Context(), []pipeline.Digest{d}); len(got) > 0 {
		t.Errorf("before: %v arrived", got)
	}

	cut := io.MultiReader(strings.NewReader(text[:2*blob.BlockSize]), &broken{})
	if err := blobs.PutBlobPart(t.Context(), d, 0, total, cut); err == nil {
		t.Fatal("a cut upload: no error")
	}
	arrived := blobs.ArrivedBlobs(t.Context(), []pipeline.Digest{d, blob.DigestOf([]byte("other"))})
	if len(arrived) != 1 || arrived[d] != 2*blob.BlockSize {
		t.Fatalf("arrived %v, want two blocks of %s", arrived, d)
	}

	err := blobs.PutBlobPart(t.Context(), d, 3*blob.BlockSize, total, strings.NewReader("x"))
	wantError(t, "beyond what arrived", err, pipeline.Conflict, "starts at byte")
	err = blobs.PutBlobPart(t.Context(), d, 1, total, strings.NewReader("x"))
	wantError(t, "inside a block", err, pipeline.Conflict, "starts at byte 1")
	if err := blobs.PutBlobPart(t.Context(), d, arrived[d], total, strings.NewReader(text[arrived[d]:])); err != nil || !store.Has(d) {
		t.Errorf("the rest: %v", err)
	}
}

// broken is a connection that was cut.
type broken struct{}

func (*broken) Read([]byte) (int, error) { return 0, io.ErrUnexpectedEOF }

func TestBlobs_MissingBlobs(t *testing.T) {
	store := newBlobs(t)
	blobs := newBlobService(store)
	here, nowhere := put(t, store, "text"), blob.DigestOf([]byte("nowhere"))
	if got, err := blobs.MissingBlobs(t.Context(), []pipeline.Digest{here, nowhere}); err != nil || !slices.Equal(got, []pipeline.Digest{nowhere}) {
		t.Errorf("got %v, %v", got, err)
	}
	if got, err := blobs.MissingBlobs(t.Context(), []pipeline.Digest{here}); err != nil || got == nil || len(got) != 0 {
		t.Errorf("nothing missing: %v, %v; want an empty list", got, err)
	}
	_, err := blobs.MissingBlobs(t.Context(), []pipeline.Digest{here, "../../etc/passwd"})
	wantError(t, "no digest", err, pipeline.Invalid, "digest")
}

// A tree is missing as a whole, or with those of its files that are not here.
func TestBlobs_MissingOfTree(t *testing.T) {
	store := newBlobs(t)
	blobs := newBlobService(store)
	root, nowhere := putTree(t, store, nil, "a", "b"), blob.DigestOf([]byte("nowhere"))
	if err := store.Delete(blob.DigestOf([]byte("b"))); err != nil {
		t.Fatal(err)
	}
	for d, want := range map[pipeline.Digest]pipeline.Digest{root: blob.DigestOf([]byte("b")), nowhere: nowhere} {
		if got, err := blobs.MissingOfTree(t.Context(), d); err != nil || !slices.Equal(got, []pipeline.Digest{want}) {
			t.Errorf("missing of %s: %v, %v; want %s", d, got, err, want)
		}
	}
}

// A bundle has the small blobs that there are; what it has can be stored
// elsewhere.
func TestBlobs_Bundle(t *testing.T) {
	store, other := newBlobs(t), newBlobs(t)
	large := put(t, store, strings.Repeat("x", wire.MaxBundledBlob+1))
	want := []pipeline.Digest{put(t, store, "one"), blob.DigestOf([]byte("nowhere")), put(t, store, "two"), large}
	write, err := newBlobService(store).Bundle(t.Context(), want)
	if err != nil {
		t.Fatal(err)
	}
	var bundle bytes.Buffer
	if err := write(&bundle); err != nil {
		t.Fatal(err)
	}

	n, err := newBlobService(other).PutBundle(t.Context(), bytes.NewReader(bundle.Bytes()))
	if err != nil || n != 2 || !other.Has(want[0]) || !other.Has(want[2]) || other.Has(large) {
		t.Errorf("stored %d, %v", n, err)
	}
	if _, err := newBlobService(newBlobs(t)).PutBundle(t.Context(), strings.NewReader("no bundle")); err == nil {
		t.Error("what is no bundle was stored")
	}
}
