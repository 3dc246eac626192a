package executor

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/fxamacker/cbor/v2"

	"github.com/pipelined/pipelined/pipeline"
)

// The keeper's protocol: frames over a unix socket, each a length of four bytes,
// big-endian, and one message in CBOR. The daemon says hello with its version;
// the keeper answers with a welcome, or with an error if its own version differs,
// and closes. After that the daemon asks and the keeper answers, in any order, by
// number; exits come unasked. Fields are numbered.
const (
	protoMagic = "pipelined-keeper"
	// protoVersion changes with every field that a keeper must know: one that did
	// not know Process.Mask would start the process without masking. One of version 4
	// does not know mask.Command.
	protoVersion = 5
	// maxFrame bounds a message. Longer lists are cut into several.
	maxFrame = 16 << 20
	// softFrame is where lists are cut.
	softFrame = 1 << 20
	// maxProcess bounds one process: beyond it no system could start it.
	maxProcess = 8 << 20
)

// kind says what a message is.
type kind uint8

const (
	kindHello kind = iota + 1
	kindWelcome
	kindReplaced
	kindStart
	kindStop
	kindList
	kindForget // nothing but the field Forget
	kindRenew
	kindReply
	kindExits
)

// message is everything that goes over the socket.
type message struct {
	Kind kind `cbor:"1,keyasint"`
	// Seq numbers a request; the reply has the same.
	Seq uint64 `cbor:"2,keyasint,omitempty"`

	// hello and welcome
	Magic       string `cbor:"3,keyasint,omitempty"`
	Version     int    `cbor:"4,keyasint,omitempty"`
	DataDir     string `cbor:"6,keyasint,omitempty"`
	PID         int    `cbor:"7,keyasint,omitempty"`
	Incarnation string `cbor:"8,keyasint,omitempty"` // in a start: the one it is meant for

	Processes []Process     `cbor:"9,keyasint,omitempty"`
	IDs       []string      `cbor:"10,keyasint,omitempty"`
	Reason    string        `cbor:"11,keyasint,omitempty"`
	Duration  time.Duration `cbor:"12,keyasint,omitempty"`

	// replies and exits
	Statuses []Status    `cbor:"13,keyasint,omitempty"`
	Errors   []wireError `cbor:"14,keyasint,omitempty"`
	// More says that the reply continues in another message.
	More bool `cbor:"15,keyasint,omitempty"`
	// Accepted are numbers of starts whose processes were all accepted; it
	// stands for their replies.
	Accepted []uint64 `cbor:"16,keyasint,omitempty"`
	// Forget goes along with any request.
	Forget []string `cbor:"17,keyasint,omitempty"`
}

// wireError is an error on its way.
type wireError struct {
	ID      string `cbor:"1,keyasint,omitempty"`
	Kind    string `cbor:"2,keyasint"`
	Message string `cbor:"3,keyasint"`
	// Refusal says that it concerns the process ID, not the whole call.
	Refusal bool `cbor:"4,keyasint,omitempty"`
}

func toWire(err error) wireError {
	return wireError{Kind: pipeline.KindOf(err).String(), Message: err.Error()}
}

// err rebuilds the error, so that errors.Is finds the sentinels again.
func (w wireError) err() error {
	return &pipeline.Error{Kind: pipeline.ParseKind(w.Kind), Message: w.Message}
}

// wireErrors takes an error of the engine apart.
func wireErrors(err error) []wireError {
	if err == nil {
		return nil
	}
	var refused *RefusedError
	if !errors.As(err, &refused) {
		return []wireError{toWire(err)}
	}
	out := make([]wireError, 0, len(refused.ByID))
	for id, why := range refused.ByID {
		w := toWire(why)
		w.ID, w.Refusal = id, true
		out = append(out, w)
	}
	return out
}

// encMode and decMode are constants in all but form. Arguments and paths are
// bytes to the system, so text need not be UTF-8.
var (
	encMode = mustMode(cbor.EncOptions{Time: cbor.TimeRFC3339Nano}.UserBufferEncMode())
	decMode = mustMode(cbor.DecOptions{
		DupMapKey: cbor.DupMapKeyEnforcedAPF, MaxNestedLevels: 8, IndefLength: cbor.IndefLengthForbidden,
		TagsMd: cbor.TagsForbidden, UTF8: cbor.UTF8DecodeInvalid,
		MaxArrayElements: 1 << 20, MaxMapPairs: 1 << 10,
	}.DecMode())
)

func mustMode[M any](m M, err error) M {
	if err != nil {
		panic(err) // options that contradict each other: found by every test
	}
	return m
}

var frameBuffers = sync.Pool{New: func() any { return new(bytes.Buffer) }}

// errFrame is why a message cannot be sent at all, over any connection.
var errFrame = errors.New("encode message")

// writeFrame sends a message with one write.
func writeFrame(w io.Writer, m *message) error {
	buf := frameBuffers.Get().(*bytes.Buffer)
	defer func() {
		if buf.Cap() <= softFrame {
			frameBuffers.Put(buf)
		}
	}()
	buf.Reset()
	buf.Write([]byte{0, 0, 0, 0})
	if err := encMode.MarshalToBuffer(m, buf); err != nil {
		return fmt.Errorf("%w: %w", errFrame, err)
	}
	b := buf.Bytes()
	if len(b)-4 > maxFrame {
		return fmt.Errorf("%w: %d bytes are more than %d", errFrame, len(b)-4, maxFrame)
	}
	binary.BigEndian.PutUint32(b, uint32(len(b)-4))
	_, err := w.Write(b)
	return err
}

// readFrame reads a message. scratch is used if it is large enough; the
// buffer to give next time is returned.
func readFrame(r io.Reader, scratch []byte) (*message, []byte, error) {
	var head [4]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return nil, scratch, err
	}
	n := int(binary.BigEndian.Uint32(head[:]))
	if n > maxFrame {
		return nil, scratch, fmt.Errorf("frame of %d bytes is longer than %d", n, maxFrame)
	}
	// Memory follows what has come, not what a length promises.
	buf := scratch[:0]
	for len(buf) < n {
		step := min(n-len(buf), max(cap(buf)-len(buf), 64<<10))
		at := len(buf)
		if cap(buf) < at+step {
			buf = append(make([]byte, 0, min(n, 2*(at+step))), buf...)
		}
		buf = buf[:at+step]
		if _, err := io.ReadFull(r, buf[at:]); err != nil {
			return nil, scratch, io.ErrUnexpectedEOF
		}
	}
	var m message
	if err := decMode.Unmarshal(buf, &m); err != nil {
		return nil, buf, fmt.Errorf("decode message: %w", err)
	}
	if cap(buf) > softFrame {
		return &m, nil, nil
	}
	return &m, buf, nil
}

// sizeOf estimates the length of a process in a message.
func sizeOf(p *Process) int {
	n := 128 + len(p.ID) + len(p.Dir) + len(p.WorkDir) + len(p.Meta)
	for _, s := range p.Argv {
		n += len(s) + 5
	}
	for _, s := range p.Env {
		n += len(s) + 5
	}
	for _, s := range p.Mask {
		n += len(s) + 5
	}
	for i := range p.Hooks {
		n += 64 + len(p.Hooks[i].WorkDir)
		for _, s := range p.Hooks[i].Argv {
			n += len(s) + 5
		}
	}
	return n
}

// cutStatuses calls send with parts of list that fit into a message each; more
// is false for the last one, which may be empty.
func cutStatuses(list []Status, send func(part []Status, more bool) error) error {
	for {
		size, n := 0, 0
		for n < len(list) && (n == 0 || size < softFrame) {
			st := &list[n]
			size += 256 + len(st.ID) + len(st.Dir) + len(st.Meta) + len(st.Reason) + len(st.StartError)
			for _, s := range st.Added {
				size += len(s) + 5
			}
			n++
		}
		if err := send(list[:n], n < len(list)); err != nil {
			return err
		}
		if list = list[n:]; len(list) == 0 {
			return nil
		}
	}
}
