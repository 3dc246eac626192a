package container

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"strings"

	cerrdefs "github.com/containerd/errdefs"
	"github.com/distribution/reference"
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
	header, with := "", "without registry_auth"
	if auth != "" {
		user, password, ok := strings.Cut(auth, ":")
		if !ok {
			return pipeline.Errorf(pipeline.Invalid, "image %s: the secret of registry_auth is not USER:PASSWORD", ref)
		}
		raw, err := json.Marshal(map[string]string{"username": user, "password": password})
		if err != nil {
			return err
		}
		header, with = base64.URLEncoding.EncodeToString(raw), "with the user and password of registry_auth"
	}

	res, err := e.cli.ImagePull(ctx, ref, client.ImagePullOptions{RegistryAuth: header})
	if err == nil {
		err = res.Wait(ctx)
	}
	if err == nil {
		return nil
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}

	kind := pipeline.Unavailable
	if cerrdefs.IsNotFound(err) || cerrdefs.IsInvalidArgument(err) || denied(err) || e.denies(ctx, ref, header) {
		kind = pipeline.Invalid
	}
	return pipeline.Errorf(kind, "pull image %s %s: %w", ref, with, err)
}

func denied(err error) bool { return cerrdefs.IsUnauthorized(err) || cerrdefs.IsPermissionDenied(err) }

// denies asks the registry, after a pull has failed, whether it refuses the image to
// this user. A pull of Docker fails in the same way if the password is wrong and if the
// registry does not answer.
func (e *Engine) denies(ctx context.Context, ref, header string) bool {
	_, err := e.cli.DistributionInspect(ctx, ref, client.DistributionInspectOptions{EncodedRegistryAuth: header})
	return denied(err)
}

// SameRegistry reports whether two images are of the same registry, so that the
// credentials for one are for the other, too.
func SameRegistry(a, b string) bool {
	first, err := reference.ParseNormalizedNamed(a)
	if err != nil {
		return false
	}
	second, err := reference.ParseNormalizedNamed(b)
	return err == nil && reference.Domain(first) == reference.Domain(second)
}
