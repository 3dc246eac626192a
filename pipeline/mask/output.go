package mask

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
)

// Command begins a line of a module's output that names a value to mask from there on.
const Command = "::add-mask::"

// What the lines of one output may add: so many values, and so many bytes, also in one
// line.
const (
	MaxAdded      = 100
	MaxAddedBytes = 64 << 10
)

// Output masks the output of an attempt, which comes in pieces, as Stream does. Lines that
// begin with Command are taken out; what follows in them is masked in the rest. The result
// is the same wherever the output is cut. It is for one goroutine.
type Output struct {
	values, added []string
	addedBytes    int
	set           *Set
	stream        *Stream // nil if nothing is masked
	// stale says that set lacks values that were added.
	stale bool

	// held is the beginning of a line that is or may become a command; long says that
	// the command is longer than it may be.
	held []byte
	long bool
	// inLine says that what was passed on last ended within a line.
	inLine bool
	buf    []byte
}

// NewOutput makes an Output that masks values from its first byte on.
func NewOutput(values []string) *Output {
	set := New(values)
	return &Output{values: values, set: set, stream: set.Stream()}
}

// Set has what is masked by now; nil if that is nothing.
func (o *Output) Set() *Set {
	if o.stale {
		return New(slices.Concat(o.values, o.added))
	}
	return o.set
}

// Added are the values that lines of the output named and that are masked.
func (o *Output) Added() []string { return o.added }

// Take masks more of the output and calls write with what is decided, for as long as write
// runs. It keeps no reference to text.
func (o *Output) Take(text []byte, write func([]byte)) {
	for len(text) > 0 {
		switch {
		case len(o.held) >= len(Command):
			text = o.takeCommand(text, write)
		case len(o.held) > 0 || !o.inLine && text[0] == Command[0]:
			text = o.takePrefix(text, write)
		default:
			text = o.takePlain(text, write)
		}
	}
}

// Close gives what was held back, at the end of the output of a process. Another one may
// follow, and begins with a line.
func (o *Output) Close(write func([]byte)) {
	held := o.held
	o.held = nil
	if len(held) >= len(Command) {
		o.command(held, write) // a last line without its end
	} else if len(held) > 0 {
		o.pass(held, write)
	}
	o.closeStream(write)
	o.inLine, o.buf = false, nil
}

// takePlain passes on text up to the next line that may be a command, and gives the rest.
func (o *Output) takePlain(text []byte, write func([]byte)) []byte {
	end := len(text)
	if i := bytes.Index(text, []byte("\n"+Command)); i >= 0 {
		end = i + 1
	} else if i := bytes.LastIndexByte(text[max(0, len(text)-len(Command)):], '\n'); i >= 0 {
		// The text may end with the beginning of a command.
		if at := max(0, len(text)-len(Command)) + i + 1; strings.HasPrefix(Command, string(text[at:])) {
			end = at
		}
	}
	o.inLine = text[end-1] != '\n'
	o.pass(text[:end], write)
	return text[end:]
}

// takePrefix holds text back for as long as the line may be a command, and gives the
// rest.
func (o *Output) takePrefix(text []byte, write func([]byte)) []byte {
	for i, c := range text {
		if c != Command[len(o.held)] {
			held := o.held
			o.held, o.inLine = o.held[:0], true // the rest of the line is plain
			if len(held) > 0 {
				o.pass(held, write)
			}
			return text[i:]
		}
		if o.held = append(o.held, c); len(o.held) == len(Command) {
			return text[i+1:]
		}
	}
	return nil
}

// takeCommand takes text up to the end of the line, and gives the rest.
func (o *Output) takeCommand(text []byte, write func([]byte)) []byte {
	line, rest, whole := bytes.Cut(text, []byte("\n"))
	if room := len(Command) + MaxAddedBytes - len(o.held); len(line) > room {
		line, o.long = line[:room], true
	}
	o.held = append(o.held, line...)
	if !whole {
		return nil
	}
	o.command(o.held, write)
	o.held = o.held[:0]
	if cap(o.held) > keepHeld {
		o.held = nil
	}
	return rest
}

// command adds the value of a line. A value with escapes as GitHub's libraries write them
// (%25, %0D and %0A) is masked as it is and without them.
func (o *Output) command(line []byte, write func([]byte)) {
	long := o.long
	o.long = false
	value := strings.TrimSuffix(string(line[len(Command):]), "\r")
	forms := []string{value}
	if plain := unescape.Replace(value); plain != value {
		forms = append(forms, plain)
	}

	switch {
	case slices.Contains(o.added, value):
	case long || o.addedBytes+len(value) > MaxAddedBytes:
		o.note(fmt.Sprintf("masks nothing: the values of a module have %d KiB at most", MaxAddedBytes>>10), write)
	case len(o.added)+len(forms) > MaxAdded:
		o.note(fmt.Sprintf("masks nothing: a module adds %d values at most", MaxAdded), write)
	case len(strings.TrimSpace(value)) < MinLength:
		o.note(fmt.Sprintf("masks nothing: a value has %d bytes at least", MinLength), write)
	default:
		for _, v := range forms {
			if !slices.Contains(o.added, v) {
				o.added, o.addedBytes, o.stale = append(o.added, v), o.addedBytes+len(v), true
			}
		}
	}
}

var unescape = strings.NewReplacer("%25", "%", "%0D", "\r", "%0d", "\r", "%0A", "\n", "%0a", "\n")

// note writes a line of our own in the place of a command that has no effect.
func (o *Output) note(text string, write func([]byte)) {
	o.closeStream(write)
	write([]byte("[pipelined: " + Command + " " + text + "]\n"))
}

// pass masks text that holds no command.
func (o *Output) pass(text []byte, write func([]byte)) {
	o.refresh(write)
	if o.stream == nil {
		write(text)
		return
	}
	o.buf = o.stream.Append(o.buf[:0], text)
	write(o.buf)
}

// refresh makes the set whole. Many values are often added at once: it is made when it is
// needed.
func (o *Output) refresh(write func([]byte)) {
	if !o.stale {
		return
	}
	o.stale = false
	o.closeStream(write)
	o.set = New(slices.Concat(o.values, o.added))
	o.stream = o.set.Stream()
}

// closeStream gives what the stream holds back.
func (o *Output) closeStream(write func([]byte)) {
	if o.stream != nil {
		o.buf = o.stream.Close(o.buf[:0])
		write(o.buf)
	}
}
