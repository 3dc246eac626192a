package apitest

import (
	"context"
	"io"

	"github.com/pipelined/pipelined/api"
	"github.com/pipelined/pipelined/api/wire"
	"github.com/pipelined/pipelined/pipeline"
)

// Logs is an api.Logs made of functions.
type Logs struct {
	FollowFunc func(context.Context, pipeline.RunID, wire.FollowRequest, func(wire.LogEvent) error) error
	LogFunc    func(context.Context, pipeline.RunID, string, int, int64) (io.ReadCloser, api.LogInfo, error)
	// LineEndsFunc may be nil: no counts are known.
	LineEndsFunc func(context.Context, pipeline.RunID, string, int) ([]int64, error)
}

// LineEnds calls LineEndsFunc.
func (f *Logs) LineEnds(ctx context.Context, id pipeline.RunID, module string, attempt int) ([]int64, error) {
	if f.LineEndsFunc == nil {
		return nil, nil
	}

	return f.LineEndsFunc(ctx, id, module, attempt)
}

// Follow calls FollowFunc.
func (f *Logs) Follow(ctx context.Context, id pipeline.RunID, in wire.FollowRequest, send func(wire.LogEvent) error) error {
	if f.FollowFunc == nil {
		return unset("Follow")
	}

	return f.FollowFunc(ctx, id, in, send)
}

// Log calls LogFunc.
func (f *Logs) Log(ctx context.Context, id pipeline.RunID, module string, attempt int, offset int64) (io.ReadCloser, api.LogInfo, error) {
	if f.LogFunc == nil {
		return nil, api.LogInfo{}, unset("Log")
	}

	return f.LogFunc(ctx, id, module, attempt, offset)
}

// Artifacts is an api.Artifacts made of functions.
type Artifacts struct {
	ArtifactsFunc    func(context.Context, pipeline.RunID, string) (wire.ArtifactList, error)
	OpenArtifactFunc func(context.Context, pipeline.RunID, string, string) (api.Blob, wire.Artifact, error)
}

// Artifacts calls ArtifactsFunc.
func (f *Artifacts) Artifacts(ctx context.Context, id pipeline.RunID, module string) (wire.ArtifactList, error) {
	if f.ArtifactsFunc == nil {
		return wire.ArtifactList{}, unset("Artifacts")
	}

	return f.ArtifactsFunc(ctx, id, module)
}

// OpenArtifact calls OpenArtifactFunc.
func (f *Artifacts) OpenArtifact(ctx context.Context, id pipeline.RunID, module string, path string) (api.Blob, wire.Artifact, error) {
	if f.OpenArtifactFunc == nil {
		return nil, wire.Artifact{}, unset("OpenArtifact")
	}

	return f.OpenArtifactFunc(ctx, id, module, path)
}

// Blobs is an api.Blobs made of functions.
type Blobs struct {
	OpenBlobFunc      func(context.Context, pipeline.Digest, bool) (api.Blob, error)
	PutBlobFunc       func(context.Context, pipeline.Digest, io.Reader) error
	PutBlobPartFunc   func(context.Context, pipeline.Digest, int64, int64, io.Reader) error
	ArrivedBlobsFunc  func(context.Context, []pipeline.Digest) map[pipeline.Digest]int64
	MissingBlobsFunc  func(context.Context, []pipeline.Digest) ([]pipeline.Digest, error)
	MissingOfTreeFunc func(context.Context, pipeline.Digest) ([]pipeline.Digest, error)
	PutBundleFunc     func(context.Context, io.Reader) (int, error)
	BundleFunc        func(context.Context, []pipeline.Digest) (func(io.Writer) error, error)
}

// OpenBlob calls OpenBlobFunc.
func (f *Blobs) OpenBlob(ctx context.Context, d pipeline.Digest, local bool) (api.Blob, error) {
	if f.OpenBlobFunc == nil {
		return nil, unset("OpenBlob")
	}

	return f.OpenBlobFunc(ctx, d, local)
}

// PutBlob calls PutBlobFunc.
func (f *Blobs) PutBlob(ctx context.Context, d pipeline.Digest, r io.Reader) error {
	if f.PutBlobFunc == nil {
		return unset("PutBlob")
	}

	return f.PutBlobFunc(ctx, d, r)
}

// PutBlobPart calls its function; without one a whole blob goes to PutBlob.
func (f *Blobs) PutBlobPart(ctx context.Context, d pipeline.Digest, from int64, total int64, r io.Reader) error {
	if f.PutBlobPartFunc == nil && from == 0 {
		return f.PutBlob(ctx, d, r)
	}
	if f.PutBlobPartFunc == nil {
		return unset("PutBlobPart")
	}

	return f.PutBlobPartFunc(ctx, d, from, total, r)
}

// ArrivedBlobs calls its function; without one nothing has arrived.
func (f *Blobs) ArrivedBlobs(ctx context.Context, d []pipeline.Digest) map[pipeline.Digest]int64 {
	if f.ArrivedBlobsFunc == nil {
		return nil
	}

	return f.ArrivedBlobsFunc(ctx, d)
}

// MissingBlobs calls MissingBlobsFunc.
func (f *Blobs) MissingBlobs(ctx context.Context, d []pipeline.Digest) ([]pipeline.Digest, error) {
	if f.MissingBlobsFunc == nil {
		return nil, unset("MissingBlobs")
	}

	return f.MissingBlobsFunc(ctx, d)
}

// MissingOfTree calls MissingOfTreeFunc.
func (f *Blobs) MissingOfTree(ctx context.Context, tree pipeline.Digest) ([]pipeline.Digest, error) {
	if f.MissingOfTreeFunc == nil {
		return nil, unset("MissingOfTree")
	}

	return f.MissingOfTreeFunc(ctx, tree)
}

// PutBundle calls PutBundleFunc.
func (f *Blobs) PutBundle(ctx context.Context, r io.Reader) (int, error) {
	if f.PutBundleFunc == nil {
		return 0, unset("PutBundle")
	}

	return f.PutBundleFunc(ctx, r)
}

// Bundle calls BundleFunc.
func (f *Blobs) Bundle(ctx context.Context, d []pipeline.Digest) (func(io.Writer) error, error) {
	if f.BundleFunc == nil {
		return nil, unset("Bundle")
	}

	return f.BundleFunc(ctx, d)
}

// Sessions is an api.Sessions made of functions.
type Sessions struct {
	ExecFunc func(context.Context, api.Subject, pipeline.RunID, string, wire.ExecRequest) (io.ReadWriteCloser, error)
}

// Exec calls ExecFunc.
func (f *Sessions) Exec(ctx context.Context, by api.Subject, id pipeline.RunID, module string, in wire.ExecRequest) (io.ReadWriteCloser, error) {
	if f.ExecFunc == nil {
		return nil, unset("Exec")
	}

	return f.ExecFunc(ctx, by, id, module, in)
}
