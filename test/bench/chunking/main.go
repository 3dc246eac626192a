// Command chunking measures what content-defined chunks would save when a file
// moves to a node that has an older version of it: bytes on the wire, processor
// time, and time at several speeds of the network. docs/adr has what followed.
//
//	go run ./test/bench/chunking NAME=OLD,NEW ...
package main

import (
	"bytes"
	"context"
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
	// entry is what a chunk costs in a list: half a digest and a length.
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
	fmt.Println("| file | size | today: whole, packed | average | chunks | missing chunks, packed | missing blocks, packed | of today | list | s/GiB to cut and hash | today at 1 Gbit/s | chunks | today at 10 Gbit/s | chunks | today, loopback | chunks |")
	fmt.Println("|---|---|---|---|---|---|---|---|---|---|---|---|---|---|---|---|")
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
	wire           int
	pack, unpack   time.Duration
	copied, stored time.Duration // reading local parts; writing and hashing the file
}

// at is the time for a speed in bytes a second, 0 for none that bounds: the wire,
// the sender and the receiver work at the same time.
func (c cost) at(speed float64) time.Duration {
	wire := time.Duration(0)
	if speed > 0 {
		wire = time.Duration(float64(c.wire) / speed * float64(time.Second))
	}
	return max(c.pack, wire, c.unpack+c.copied+c.stored)
}

func compare(name string, before, after []byte) error {
	stored, err := store(after)
	if err != nil {
		return err
	}
	var whole cost
	whole.stored = stored
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
		exact.stored, blocks.stored = stored, stored
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
		began = time.Now()
		copy(make([]byte, len(after)), after)
		blocks.copied = time.Since(began)
		perGiB := took.Seconds() / float64(len(before)) * (1 << 30)
		fmt.Printf("| %s | %s | %s | %d KiB | %d | %s | %s | %.1f %% | %d KiB | %.2f |", name, size(len(after)), size(whole.wire), average>>10, n, size(exact.wire), size(blocks.wire),
			100*float64(blocks.wire)/float64(whole.wire), n*entry>>10, perGiB)
		for _, speed := range []float64{125e6, 1250e6, 0} {
			fmt.Printf(" %s | %s |", whole.at(speed).Round(time.Millisecond), blocks.at(speed).Round(time.Millisecond))
		}
		fmt.Println()
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
			c.pack += time.Since(began)
			continue
		}
		packed := encoder.EncodeAll(part, nil)
		c.pack += time.Since(began)
		c.wire += len(packed)
		began = time.Now()
		z, err := zstd.NewReader(bytes.NewReader(packed), zstd.WithDecoderConcurrency(1))
		if err != nil {
			return err
		}
		if _, err := io.Copy(io.Discard, z); err != nil {
			return err
		}
		z.Close()
		c.unpack += time.Since(began)
	}
	return nil
}

// store is the time that writing and hashing a file takes that has arrived.
func store(p []byte) (time.Duration, error) {
	dir, err := os.MkdirTemp("", "chunking-")
	if err != nil {
		return 0, err
	}
	defer os.RemoveAll(dir)
	b, err := storage.OpenBlobs(dir, storage.BlobOptions{LowWater: -1})
	if err != nil {
		return 0, err
	}
	defer b.Close()
	ctx := context.Background()
	d := storage.DigestOf(p)
	began := time.Now()
	part, err := b.Partial(d, int64(len(p)))
	if err != nil {
		return 0, err
	}
	if _, err := part.Fill(ctx, 0, int64(len(p)), bytes.NewReader(p)); err != nil {
		return 0, err
	}
	err = part.Commit(ctx)
	return time.Since(began), err
}
