// Command chunking measures what content-defined chunks would save when a file
// moves to a node that has an older version of it: bytes on the wire and processor
// time. docs/adr/0009 has what followed.
//
//	go run ./test/bench/chunking NAME=OLD,NEW ...
package main

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/klauspost/compress/zstd"

	"github.com/pipelined/pipelined/storage"
)

const (
	block   = storage.BlockSize
	stretch = 16 << 20 // what one request for a part of a large blob asks for
	sample  = 64 << 10
	// entry is what a chunk has in a list: half a digest and a length.
	entry = 20
)

// averages are the lengths of chunks that are tried.
var averages = []int{64 << 10, 256 << 10, 1 << 20}

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "chunking:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	fmt.Println("| file | size | today: whole, packed | average | chunks | missing chunks, packed | missing blocks, packed | of today | s/GiB to cut and hash | s/GiB to pack and unpack the whole |")
	fmt.Println("|---|---|---|---|---|---|---|---|---|---|")
	for _, arg := range args {
		name, files, ok := strings.Cut(arg, "=")
		from, to, ok2 := strings.Cut(files, ",")
		if !ok || !ok2 {
			return fmt.Errorf("%q: want NAME=OLD,NEW", arg)
		}
		before, err := os.ReadFile(from)
		if err != nil {
			return err
		}
		after, err := os.ReadFile(to)
		if err != nil {
			return err
		}
		if err := compare(name, before, after); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	return nil
}

// cost is what moving some bytes takes.
type cost struct {
	wire int
	cpu  time.Duration // to pack and unpack
}

func compare(name string, before, after []byte) error {
	var whole cost
	for at := 0; at < len(after); at += stretch {
		if err := send(after[at:min(at+stretch, len(after))], &whole); err != nil {
			return err
		}
	}
	for _, average := range averages {
		began := time.Now()
		have := map[[32]byte]bool{}
		c := storage.NewCutter(average)
		each(c, before, func(_ int, p []byte) { have[sha256.Sum256(p)] = true })
		took := time.Since(began)
		var exact, blocks cost
		n, missing := 0, [][2]int{}
		each(c, after, func(at int, p []byte) {
			n++
			if have[sha256.Sum256(p)] {
				return
			}
			if last := len(missing) - 1; last >= 0 && missing[last][1] == at {
				missing[last][1] = at + len(p)
				return
			}
			missing = append(missing, [2]int{at, at + len(p)})
		})
		for _, part := range missing {
			if err := send(after[part[0]:part[1]], &exact); err != nil {
				return err
			}
		}
		for _, part := range inBlocks(missing, len(after)) {
			if err := send(after[part[0]:part[1]], &blocks); err != nil {
				return err
			}
		}
		blocks.wire += n * entry
		exact.wire += n * entry
		perGiB := func(d time.Duration, n int) float64 { return d.Seconds() / float64(n) * (1 << 30) }
		fmt.Printf("| %s | %s | %s | %d KiB | %d | %s | %s | %.1f %% | %.2f | %.2f |\n", name, size(len(after)), size(whole.wire), average>>10, n, size(exact.wire), size(blocks.wire),
			100*float64(blocks.wire)/float64(whole.wire), perGiB(took, len(before)), perGiB(whole.cpu, len(after)))
	}
	return nil
}

func size(n int) string { return fmt.Sprintf("%.2f MiB", float64(n)/(1<<20)) }

func each(c *storage.Cutter, p []byte, f func(at int, p []byte)) {
	for at := 0; at < len(p); {
		n := c.Next(p[at:])
		f(at, p[at:at+n])
		at += n
	}
}

// inBlocks rounds parts to the blocks in which a blob arrives.
func inBlocks(parts [][2]int, size int) (out [][2]int) {
	for _, p := range parts {
		from, to := p[0]/block*block, min((p[1]+block-1)/block*block, size)
		if last := len(out) - 1; last >= 0 && out[last][1] >= from {
			out[last][1] = max(out[last][1], to)
			continue
		}
		out = append(out, [2]int{from, to})
	}
	return out
}

var encoder, _ = zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithEncoderConcurrency(1), zstd.WithWindowSize(1<<20))

// send adds what it takes to send a part as a node does: packed where a sample of
// it shrinks by an eighth.
func send(p []byte, c *cost) error {
	for len(p) > 0 {
		part := p[:min(len(p), stretch)]
		p = p[len(part):]
		began := time.Now()
		head := part[:min(len(part), sample)]
		if len(encoder.EncodeAll(head, nil)) >= len(head)*7/8 {
			c.wire += len(part)
			c.cpu += time.Since(began)
			continue
		}
		packed := encoder.EncodeAll(part, nil)
		c.wire += len(packed)
		z, err := zstd.NewReader(bytes.NewReader(packed), zstd.WithDecoderConcurrency(1))
		if err != nil {
			return err
		}
		if _, err := io.Copy(io.Discard, z); err != nil {
			return err
		}
		z.Close()
		c.cpu += time.Since(began)
	}
	return nil
}
