package webhook

import (
	"context"
	"net"
	"net/http"
)

// SetDial replaces how a client connects.
func (c *Client) SetDial(dial func(ctx context.Context, network, address string) (net.Conn, error)) {
	c.http.Transport.(*http.Transport).DialContext = dial
}
