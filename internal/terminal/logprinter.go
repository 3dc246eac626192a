package terminal

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/pipelined/pipelined/api/wire"
)

// LogStyle says how a logPrinter prints output.
type LogStyle struct {
	// attempt is the only attempt that is printed; 0 prints all of them.
	Attempt int
	// raw prints one module's output as it was written, without its name.
	Raw bool
	// json prints each event as a line of JSON; raw and times do not apply then.
	JSON bool
	// times prints when each line was written.
	Times bool
}

// LogPrinter prints the events of a log stream. It is safe for concurrent use.
type LogPrinter struct {
	mu sync.Mutex
	// guards following
	console *Console
	style   LogStyle
	lines   *lineSplitter
	encoder *json.Encoder
	stamped []byte // reused for each line
	// partial shows the beginnings of lines; nil if none waits.
	partial *time.Timer
}

// ErrLogComplete ends a stream of which everything that was asked for is printed.
var ErrLogComplete = errors.New("the requested output is complete")

// NewLogPrinter makes a printer. It never draws a live display: announcements of
// attempts would become part of it.
func NewLogPrinter(cfg ConsoleConfig, style LogStyle) *LogPrinter {
	cfg.Static = true
	p := &LogPrinter{console: NewConsole(cfg), style: style}
	p.console.output.raw = style.Raw

	if style.JSON {
		p.encoder = json.NewEncoder(cfg.Out)
		p.encoder.SetEscapeHTML(false)
	}

	p.lines = newLineSplitter(p.line, func(module string, number int) {
		if style.Attempt == 0 {
			p.console.note("%s: attempt %d", module, number)
		}
	})

	return p
}

// Event prints one event. errLogComplete asks the caller to stop the stream;
// other errors are those of the device.
func (p *LogPrinter) Event(e wire.LogEvent) error {
	p.mu.Lock()
	defer p.mu.Unlock()

	switch {
	case p.style.Attempt > 0 && e.Attempt > p.style.Attempt:
		return ErrLogComplete

	case p.encoder != nil:
		if err := p.encoder.Encode(e); err != nil {
			return fmt.Errorf("write output: %w", err)
		}

	case p.style.Raw && !p.console.output.safe && !p.style.Times:
		// Byte for byte: the reader is a file or a program.
		if _, err := p.console.out.Write(e.Bytes()); err != nil {
			return err
		}

	default:
		p.lines.add(&e)
		if p.partial == nil && !p.style.Times && p.lines.waits() {
			p.partial = time.AfterFunc(partialAfter, p.showPartial)
		}
	}

	p.console.flush()
	if p.style.Attempt > 0 && e.Attempt == p.style.Attempt && e.End {
		return ErrLogComplete
	}

	return p.console.out.Err()
}

// showPartial prints the beginnings of lines that wait for their ends.
func (p *LogPrinter) showPartial() {
	p.mu.Lock()
	defer p.mu.Unlock()

	if p.partial != nil { // else the stream has ended
		p.partial = nil
		p.lines.partial()
		p.console.flush()
	}
}

// End prints lines that have no end yet.
func (p *LogPrinter) End() {
	p.mu.Lock()
	defer p.mu.Unlock()

	if p.partial != nil {
		p.partial.Stop()
		p.partial = nil
	}
	p.lines.end()
	p.console.close()
}

// line prints a line, or a piece of one.
func (p *LogPrinter) line(line part) {
	if p.style.Times {
		p.stamped = append(p.lines.at.UTC().AppendFormat(p.stamped[:0], wire.LogTimeLayout), ' ')
		p.stamped = append(p.stamped, line.text...)
		line.text = p.stamped
	}

	p.console.output.part(line)
}

// PrintText copies output from r to the console line by line, without what
// steers a terminal. It returns nil at the end of r.
func (c *Console) PrintText(r io.Reader) error {
	in := bufio.NewReaderSize(r, maxLine)

	for {
		line, err := in.ReadSlice('\n')
		if len(line) > 0 {
			c.output.text(line)
		}

		switch {
		case errors.Is(err, io.EOF):
			c.flush()
			return nil

		case err != nil && !errors.Is(err, bufio.ErrBufferFull):
			return fmt.Errorf("read output: %w", err)
		}
	}
}
