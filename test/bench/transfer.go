package main

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"time"
)

// transferBytes is the size of the transferred file.
const transferBytes = 256 << 20

// payload is a file that is sent: its name in the report and its contents.
type payload struct {
	name string
	fill func(rng *rand.Rand, block []byte)
}

// payloads differ in how much zstd makes of them.
var payloads = []payload{
	{"random bytes", func(rng *rand.Rand, block []byte) {
		for i := 0; i+8 <= len(block); i += 8 {
			v := rng.Uint64()
			for k := range 8 {
				block[i+k] = byte(v >> (8 * k))
			}
		}
	}},
	{"text", func(rng *rand.Rand, block []byte) {
		var b bytes.Buffer
		for b.Len() < len(block) {
			fmt.Fprintf(&b, "%016x level=info module=m%d message=\"compiled package %d of %d\"\n", rng.Uint64(), rng.IntN(100), rng.IntN(5000), 5000)
		}
		copy(block, b.Bytes())
	}},
}

// transfers times large blobs on their way: to a client from a node that has
// them, and from one that must bring them from another node first. Beside it
// curl brings the same bytes from a plain file server.
func (b *bench) transfers() error {
	curl, err := exec.LookPath("curl")
	if err != nil {
		return err
	}

	c, err := b.p.startCluster("bytes", 3)
	if err != nil {
		return err
	}
	defer c.stop()
	dir := filepath.Join(b.dir, "bytes")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}

	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}

	files := &http.Server{Handler: http.FileServer(http.Dir(dir)), ReadHeaderTimeout: 10 * time.Second}
	go func() { _ = files.Serve(l) }() // ends with Close
	defer files.Close()
	get := func(url string, args ...string) (time.Duration, error) {
		begin := time.Now()
		_, err := command(time.Minute, curl, append(args, "-sSf", "-o", filepath.Join(dir, "got"), url)...)
		return time.Since(begin), err
	}

	auth := []string{"-H", "Authorization: Bearer " + c.token}
	rng := rand.New(rand.NewPCG(1, 2))
	for _, p := range payloads {
		var near, far, up series
		err := b.repeat(b.rounds, func(int) error {
			digest, err := p.write(rng, filepath.Join(dir, "file"))
			if err != nil {
				return err
			}

			floor, err := get("http://" + l.Addr().String() + "/file")
			if err != nil {
				return fmt.Errorf("floor: %w", err)
			}

			path := "/api/v1/blobs/" + digest
			begin := time.Now()
			if _, err := command(time.Minute, curl, append(auth, "-sSf", "-T", filepath.Join(dir, "file"), c.agents[0].url+path)...); err != nil {
				return fmt.Errorf("put: %w", err)
			}

			up.add(float64(time.Since(begin)), float64(floor))

			for _, way := range []struct {
				from *agent
				into *series
			}{{c.agents[0], &near}, {c.agents[1], &far}} {
				took, err := get(way.from.url+path, auth...)
				if err != nil {
					return fmt.Errorf("get: %w", err)
				}
				way.into.add(float64(took), float64(floor))
			}

			return sameDigest(filepath.Join(dir, "got"), digest)
		})
		if err != nil {
			return err
		}

		what := fmt.Sprintf("256 MiB of %s, ", p.name)
		b.report.lines = append(b.report.lines,
			ratioLine("", what+"put into a node: verified, flushed / `curl` from a file server", up, 0, 0),
			ratioLine("", what+"from a node that has them, verified / `curl`", near, 0, 0),
			ratioLine("", what+"from a node that brings them from another, encrypted, verified, flushed / `curl`", far, 0, 0))
	}

	return nil
}

// write makes the file of a round, another one each time, and returns its digest.
func (p payload) write(rng *rand.Rand, path string) (string, error) {
	f, err := os.Create(path)
	if err != nil {
		return "", err
	}
	defer f.Close()

	h, block := sha256.New(), make([]byte, 1<<20)
	for range transferBytes / len(block) {
		p.fill(rng, block)
		h.Write(block)
		if _, err := f.Write(block); err != nil {
			return "", err
		}
	}

	return hex.EncodeToString(h.Sum(nil)), f.Close()
}

func sameDigest(path, want string) error {
	out, err := command(time.Minute, "sha256sum", path)
	if err == nil && out[:min(len(out), len(want))] != want {
		err = fmt.Errorf("what came is %.64s, want %s", out, want)
	}
	return err
}
