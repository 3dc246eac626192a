package client

import (
	"context"
	"net/http"

	"github.com/pipelined/pipelined/api/wire"
)

// Create makes a token. An Unknown error leaves it open whether there is
// one more; List shows it.
func (tokens Tokens) Create(ctx context.Context, in wire.TokenRequest) (wire.TokenCreated, error) {
	return do[wire.TokenCreated](ctx, tokens.calls, &request{method: http.MethodPost, path: "/api/v1/tokens"}, in)
}

// List lists the tokens, without their secrets.
func (tokens Tokens) List(ctx context.Context) (wire.TokenList, error) {
	return do[wire.TokenList](ctx, tokens.calls, &request{method: http.MethodGet, path: "/api/v1/tokens", safe: true}, nil)
}

// Delete revokes a token.
func (tokens Tokens) Delete(ctx context.Context, id string) error {
	return call(ctx, tokens.calls, http.MethodDelete, "/api/v1/tokens"+path(id), true, nil)
}

// WhoAmI says who calls, and at which node.
func (tokens Tokens) WhoAmI(ctx context.Context) (wire.WhoAmI, error) {
	return do[wire.WhoAmI](ctx, tokens.calls, &request{method: http.MethodGet, path: "/api/v1/whoami", safe: true}, nil)
}

// SignInCode makes a code with which a browser signs in once.
func (tokens Tokens) SignInCode(ctx context.Context) (wire.SignInCode, error) {
	return do[wire.SignInCode](ctx, tokens.calls, &request{method: http.MethodPost, path: "/api/v1/signin/codes", safe: true}, nil)
}

// SignIn exchanges a code for a token.
func (tokens Tokens) SignIn(ctx context.Context, code string) (wire.SignedIn, error) {
	return do[wire.SignedIn](ctx, tokens.calls, &request{method: http.MethodPost, path: "/api/v1/signin"}, wire.SignInRequest{Code: code})
}

// SignOut revokes the token of a sign-in, with which the client calls.
func (tokens Tokens) SignOut(ctx context.Context) error {
	return call(ctx, tokens.calls, http.MethodDelete, "/api/v1/signin", true, nil)
}

// Set sets a secret, or replaces it. Repeating it is harmless.
func (secrets Secrets) Set(ctx context.Context, name, value string) (wire.SecretInfo, error) {
	return do[wire.SecretInfo](ctx, secrets.calls, &request{method: http.MethodPut, path: "/api/v1/secrets" + path(name), safe: true}, wire.SecretRequest{Value: value})
}

// List lists the secrets, without their values.
func (secrets Secrets) List(ctx context.Context) (wire.SecretList, error) {
	return do[wire.SecretList](ctx, secrets.calls, &request{method: http.MethodGet, path: "/api/v1/secrets", safe: true}, nil)
}

// Delete removes a secret.
func (secrets Secrets) Delete(ctx context.Context, name string) error {
	return call(ctx, secrets.calls, http.MethodDelete, "/api/v1/secrets"+path(name), true, nil)
}
