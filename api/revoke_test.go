package api_test

import (
	"context"
	"io"
	"net/http"
	"sync/atomic"
	"testing"
	"time"

	"github.com/pipelined/pipelined/api"
	"github.com/pipelined/pipelined/api/apitest"
	"github.com/pipelined/pipelined/pipeline"
)

// TestRevoke_underWay: an upload goes on while its token is valid, and nothing more
// of it is taken soon after the token was revoked.
func TestRevoke_underWay(t *testing.T) {
	var revoked atomic.Bool
	looks, ended := make(chan struct{}, 100), make(chan error, 1)
	b := &apitest.Backend{}
	b.Auth.AuthenticateFunc = func(context.Context, string, string) (api.Subject, error) {
		looks <- struct{}{}
		if revoked.Load() {
			return api.Subject{}, pipeline.Errorf(pipeline.Unauthenticated, "revoked")
		}
		return api.Subject{Name: "ada", Role: api.RoleAdmin}, nil
	}
	blobStore(b, map[pipeline.Digest][]byte{})
	b.Blobs.PutBlobFunc = func(_ context.Context, _ pipeline.Digest, r io.Reader) error {
		_, err := io.Copy(io.Discard, r)
		ended <- err
		return err
	}
	n := newNode(t, b)

	in, out := io.Pipe()
	defer out.Close()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPut, n.public.URL+"/api/v1/blobs/"+string(digestOf([]byte("x"))), in)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer x")
	tr := &http.Transport{}
	defer tr.CloseIdleConnections()
	go func() { // ends when the server refuses, or with the pipe
		if resp, err := tr.RoundTrip(req); err == nil {
			_ = resp.Body.Close()
		}
		_ = in.Close()
	}()
	go func() { // a caller that sends on, slowly
		for range time.Tick(time.Millisecond) {
			if _, err := out.Write([]byte("data")); err != nil {
				return
			}
		}
	}()

	for range 3 {
		select {
		case <-looks:
		case err := <-ended:
			t.Fatalf("it ends while the token is valid: %v", err)
		case <-time.After(10 * time.Second):
			t.Fatal("nobody looks at the token")
		}
	}
	revoked.Store(true)
	select {
	case err := <-ended:
		if pipeline.KindOf(err) != pipeline.Unauthenticated {
			t.Errorf("got %v", err)
		}
	case <-time.After(10 * time.Second):
		t.Fatal("the upload goes on")
	}
}
