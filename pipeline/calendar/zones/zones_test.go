package zones_test

import (
	"archive/tar"
	"archive/zip"
	"bytes"
	"errors"
	"flag"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/klauspost/compress/zstd"

	"github.com/pipelined/pipelined/pipeline/calendar/zones"
)

var update = flag.Bool("update", false, "write the archive anew, from the database of the installed Go")

const archive = "zones.tar.zst"

func TestMain(m *testing.M) {
	flag.Parse()
	if *update {
		if err := write(); err != nil {
			panic(err)
		}
		os.Exit(0) // this program holds the archive of before
	}
	os.Exit(m.Run())
}

// write makes the archive.
func write() error {
	root, err := exec.Command("go", "env", "GOROOT").Output()
	if err != nil {
		return err
	}
	in, err := zip.OpenReader(filepath.Join(strings.TrimSpace(string(root)), "lib", "time", "zoneinfo.zip"))
	if err != nil {
		return err
	}
	defer in.Close()

	var plain bytes.Buffer
	out := tar.NewWriter(&plain)
	for _, f := range in.File {
		if f.FileInfo().IsDir() {
			continue
		}
		file, err := f.Open()
		if err != nil {
			return err
		}
		text, err := io.ReadAll(file)
		if err := errors.Join(err, file.Close()); err != nil {
			return err
		}
		err = out.WriteHeader(&tar.Header{Name: f.Name, Mode: 0o644, Size: int64(len(text)), Format: tar.FormatUSTAR})
		if err != nil {
			return err
		}
		if _, err := out.Write(text); err != nil {
			return err
		}
	}

	z, err := zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedBestCompression), zstd.WithEncoderConcurrency(1))
	if err := errors.Join(err, out.Close()); err != nil {
		return err
	}
	return os.WriteFile(archive, z.EncodeAll(plain.Bytes(), nil), 0o644)
}

// names lists the zones of the archive.
func names(t *testing.T) (list []string) {
	t.Helper()
	f, err := os.Open(archive)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	z, err := zstd.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	defer z.Close()
	for files := tar.NewReader(z); ; {
		head, err := files.Next()
		if err == io.EOF {
			return list
		}
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, head.Name)
	}
}

func TestLoad_all(t *testing.T) {
	list := names(t)
	if len(list) < 590 {
		t.Errorf("%d zones", len(list))
	}
	for _, name := range list {
		zone, err := zones.Load(name)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if zone.String() != name {
			t.Errorf("%s is called %s", name, zone)
		}
		again, err := zones.Load(name)
		if err != nil || again != zone {
			t.Errorf("%s: not the same the second time: %v", name, err)
		}
	}
}

// Clocks change in March and October in Europe, and in other weeks in America.
func TestLoad_clocks(t *testing.T) {
	for _, c := range []struct{ zone, utc, want string }{
		{"Europe/Berlin", "2026-03-29T00:59:59Z", "2026-03-29T01:59:59+01:00"},
		{"Europe/Berlin", "2026-03-29T01:00:00Z", "2026-03-29T03:00:00+02:00"},
		{"America/New_York", "2026-03-08T07:00:00Z", "2026-03-08T03:00:00-04:00"},
		{"America/New_York", "2040-12-24T12:00:00Z", "2040-12-24T07:00:00-05:00"},
		{"Asia/Kathmandu", "2026-03-08T07:00:00Z", "2026-03-08T12:45:00+05:45"},
		{"UTC", "2026-03-08T07:00:00Z", "2026-03-08T07:00:00Z"},
	} {
		zone, err := zones.Load(c.zone)
		if err != nil {
			t.Fatal(err)
		}
		at, err := time.Parse(time.RFC3339, c.utc)
		if err != nil {
			t.Fatal(err)
		}
		if got := at.In(zone).Format(time.RFC3339); got != c.want {
			t.Errorf("%s in %s: %s, want %s", c.utc, c.zone, got, c.want)
		}
	}
}

func TestLoad_unknown(t *testing.T) {
	for _, name := range []string{"", "Mars/Olympus", "europe/berlin", "Europe", "Europe/", "../zones.go", "/etc/passwd", strings.Repeat("x", 1000)} {
		if zone, err := zones.Load(name); err == nil {
			t.Errorf("%.20q is %s", name, zone)
		} else if len(err.Error()) > 200 {
			t.Errorf("%.20q: %d bytes of error", name, len(err.Error()))
		}
	}
}
