// Package zones has the time zones of the IANA database: the same on every machine,
// whatever is installed there. So all nodes of a cluster agree when a schedule is due.
//
// The package time/tzdata of the standard library gives way to what a machine has
// installed, and is 330 KB larger: its zones are not compressed.
package zones

import (
	"archive/tar"
	"bytes"
	_ "embed"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/klauspost/compress/zstd"
)

// archive is the database of the Go distribution, as a compressed tar file. The test with
// -update writes it.
//
//go:embed zones.tar.zst
var archive []byte

// found has the zones that were asked for. What is in it never changes, and there are
// no more of them than zones in the database.
var found sync.Map // name -> *time.Location

// Load finds a zone by its name, for example "Europe/Berlin". It may be called
// concurrently.
func Load(name string) (*time.Location, error) {
	if zone, ok := found.Load(name); ok {
		return zone.(*time.Location), nil
	}

	text, err := read(name)
	if err != nil {
		return nil, err
	}
	zone, err := time.LoadLocationFromTZData(name, text)
	if err != nil {
		return nil, fmt.Errorf("time zone %s: %w", name, err)
	}
	if name == "UTC" {
		zone = time.UTC
	}
	found.Store(name, zone)
	return zone, nil
}

// read gives the file of a zone. It reads the archive from its beginning, which takes
// some milliseconds: its text is not worth the memory.
func read(name string) ([]byte, error) {
	plain, err := zstd.NewReader(bytes.NewReader(archive), zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true))
	if err != nil {
		return nil, fmt.Errorf("read the time zones: %w", err)
	}
	defer plain.Close()

	for files := tar.NewReader(plain); ; {
		head, err := files.Next()
		if err == io.EOF {
			return nil, fmt.Errorf("no time zone is called %.80q", name)
		}
		if err == nil && head.Name == name {
			var text []byte
			if text, err = io.ReadAll(files); err == nil {
				return text, nil
			}
		}
		if err != nil {
			return nil, fmt.Errorf("read the time zones: %w", err)
		}
	}
}
