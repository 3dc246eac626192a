package peer

import (
	"github.com/fxamacker/cbor/v2"
)

// MaxMessage bounds a message between nodes, in bytes. Blobs are streamed
// beside the messages.
const MaxMessage = 64 << 20

// The modes only fail for invalid options. The decoder's bounds keep a message
// from allocating much more than its own size.
var (
	encMode, _ = cbor.EncOptions{Time: cbor.TimeUnixMicro}.EncMode()
	decMode, _ = cbor.DecOptions{MaxNestedLevels: 16, MaxArrayElements: 1 << 20, MaxMapPairs: 1 << 20}.DecMode()
)

// Marshal encodes a message.
func Marshal(v any) ([]byte, error) { return encMode.Marshal(v) }

// Unmarshal decodes a message into a pointer.
func Unmarshal(raw []byte, into any) error { return decMode.Unmarshal(raw, into) }
