package container

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"strings"

	cerrdefs "github.com/containerd/errdefs"
	"github.com/moby/moby/client"

	"github.com/pipelined/pipelined/pipeline"
)

// Image is an image on this machine.
type Image struct {
	// ID is the engine's own name of it.
	ID string
	// Digest identifies its content: that of the registry, or the ID of an image
	// that came from none.
	Digest string
}

// Image finds an image, and pulls it as the policy says. auth is USER:PASSWORD for
// its registry, or "". The error is pipeline.Invalid if another machine would not
// get it either, and pipeline.Unavailable if one may.
func (e *Engine) Image(ctx context.Context, ref, policy, auth string) (Image, error) {
	if policy != pipeline.PullAlways {
		found, err := e.inspect(ctx, ref)
		switch {
		case err == nil:
			return found, nil
		case !cerrdefs.IsNotFound(err):
			return Image{}, pipeline.Errorf(pipeline.Unavailable, "image %s: %w", ref, err)
		case policy == pipeline.PullNever:
			return Image{}, pipeline.Errorf(pipeline.Invalid, `image %s is not on this machine, and pull = "never"`, ref)
		}
	}

	if err := e.pull(ctx, ref, auth); err != nil {
		return Image{}, err
	}
	found, err := e.inspect(ctx, ref)
	if err != nil {
		return Image{}, pipeline.Errorf(pipeline.Unavailable, "image %s, just pulled: %w", ref, err)
	}
	return found, nil
}

func (e *Engine) inspect(ctx context.Context, ref string) (Image, error) {
	res, err := e.cli.ImageInspect(ctx, ref)
	if err != nil {
		return Image{}, err
	}
	found := Image{ID: res.ID, Digest: res.ID}
	for _, d := range res.RepoDigests {
		if _, digest, ok := strings.Cut(d, "@"); ok {
			found.Digest = digest
			break
		}
	}
	return found, nil
}

func (e *Engine) pull(ctx context.Context, ref, auth string) error {
	var opts client.ImagePullOptions
	if auth != "" {
		user, password, ok := strings.Cut(auth, ":")
		if !ok {
			return pipeline.Errorf(pipeline.Invalid, "image %s: the secret of registry_auth is not USER:PASSWORD", ref)
		}
		raw, err := json.Marshal(map[string]string{"username": user, "password": password})
		if err != nil {
			return err
		}
		opts.RegistryAuth = base64.URLEncoding.EncodeToString(raw)
	}

	res, err := e.cli.ImagePull(ctx, ref, opts)
	if err == nil {
		err = res.Wait(ctx)
	}
	switch {
	case err == nil:
		return nil
	case ctx.Err() != nil:
		return ctx.Err()
	case cerrdefs.IsNotFound(err), cerrdefs.IsUnauthorized(err), cerrdefs.IsPermissionDenied(err), cerrdefs.IsInvalidArgument(err):
		return pipeline.Errorf(pipeline.Invalid, "pull image %s: %w", ref, err)
	}
	return pipeline.Errorf(pipeline.Unavailable, "pull image %s: %w", ref, err)
}
