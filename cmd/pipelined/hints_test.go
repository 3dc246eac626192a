package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"io"
	"log"
	"math/big"
	"net"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// A stranger's mistakes with addresses: each message says what is there and what to do.
func TestHint_address(t *testing.T) {
	f := newFakeCluster(t)
	closing, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	accepted := make(chan struct{})
	go func() { // ends with the listener
		defer close(accepted)
		for {
			c, err := closing.Accept()
			if err != nil {
				return
			}
			_, _ = c.Read(make([]byte, 1)) // else the connection may count as one that idled
			c.Close()
		}
	}()
	t.Cleanup(func() { closing.Close(); <-accepted })
	secure := httptest.NewUnstartedServer(f)
	secure.Config.ErrorLog = log.New(io.Discard, "", 0)
	secure.StartTLS()
	t.Cleanup(secure.Close)
	secureAt := secure.Listener.Addr().String()
	host := fmt.Sprintf("127.251.%d.%d", os.Getpid()%250+1, os.Getpid()/250%250+1) // where no process listens
	for name, tc := range map[string]struct{ address, want string }{
		"no agent":        {host + ":8080", "no process listens there (connection refused): start an agent there"},
		"gossip":          {host + ":7946", "7946 is the gossip port of a node; -address takes its HTTP port: try " + host + ":8080"},
		"peers":           {host + ":7947", "7947 is the peer port of a node; -address takes its HTTP port: try " + host + ":8080"},
		"http URL":        {"http://" + host, host + ":80 cannot be reached: no process listens there (connection refused): a URL without a port means port 80, and a node listens on 8080: try -address " + host + ":8080"},
		"https URL":       {"https://" + host, "a URL without a port means port 443, and a node listens on 8080: try -address " + host + ":8080"},
		"another program": {closing.Addr().String(), "closed the connection without an answer: is it the HTTP port of a node? (8080 by default; 7946 is for gossip"},
		"http to https":   {"http://" + secureAt, "HTTP request to an HTTPS server.: try -address https://" + secureAt},
		"https to http":   {"https://" + f.address(), "it speaks HTTP without TLS: try -address http://" + f.address()},
	} {
		code, _, stderr := newCommand(t, f).exec("members", "-quiet", "-address", tc.address)
		if code != exitUnavailable && code != exitUsage || !strings.Contains(stderr, tc.want) || strings.Count(stderr, "\n") != 1 {
			t.Errorf("%s: exit %d: %s want %q", name, code, stderr, tc.want)
		}
	}

	// With a key only TLS is spoken, and the port of the URL stays the same.
	c := newCommand(t, nil)
	withKey(t, c)
	if _, _, stderr := c.exec("members", "-quiet", "-address", "http://"+host); !strings.Contains(stderr, host+":80 cannot") {
		t.Errorf("with a key: %s", stderr)
	}
}

// Each fault of a certificate has an advice of its own.
func TestHint_certificate(t *testing.T) {
	for name, tc := range map[string]struct {
		until time.Duration
		host  string
		known bool
		want  string
	}{
		"expired":       {-time.Hour, "127.0.0.1", true, "renew it there (the file of tls_cert), or correct the clock of this machine"},
		"another name":  {time.Hour, "ci.example", true, "use one of the names in the certificate; http_host of the node adds one"},
		"not known":     {time.Hour, "127.0.0.1", false, "name the authority of its certificate with -ca-file (pipelined ca on a node prints that of the cluster)"},
		"in good order": {time.Hour, "127.0.0.1", true, ""},
	} {
		f := newFakeCluster(t)
		cert, file := selfSigned(t, tc.host, tc.until)
		srv := httptest.NewUnstartedServer(f)
		srv.Config.ErrorLog, srv.TLS = log.New(io.Discard, "", 0), &tls.Config{Certificates: []tls.Certificate{cert}}
		srv.StartTLS()
		t.Cleanup(srv.Close)
		args := []string{"members", "-quiet", "-address", srv.URL}
		if tc.known {
			args = append(args, "-ca-file", file)
		}
		code, _, stderr := newCommand(t, f).exec(args...)
		if (code == exitUnavailable) != (tc.want != "") || !strings.Contains(stderr, tc.want) {
			t.Errorf("%s: exit %d: %s want %q", name, code, stderr, tc.want)
		}
	}
}

// selfSigned makes a certificate for a host, and a file that has it.
func selfSigned(t *testing.T, host string, until time.Duration) (tls.Certificate, string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-48 * time.Hour), NotAfter: time.Now().Add(until),
		IsCA: true, BasicConstraintsValid: true, DNSNames: []string{host}}
	if ip := net.ParseIP(host); ip != nil {
		template.DNSNames, template.IPAddresses = nil, []net.IP{ip}
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	text := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, write(t, t.TempDir(), "cert.pem", string(text))
}

// A FILE that is no pipeline: the message says what it is and what may be meant.
func TestFile_wrong(t *testing.T) {
	dir, empty := t.TempDir(), t.TempDir()
	for name, text := range map[string]string{
		"ci.hcl": "pipeline \"p\" {\n  module \"m\" { command = [\"true\"] }\n}\n", "nightly.hcl": "", "sub/x": "",
		"jobs.hcl": "# jobs\n\njobs:\n  build:\n", "list.hcl": "- run: x\n", "doc.hcl": "---\na: 1\n", "object.hcl": "{\"pipeline\": {}}\n", "table.hcl": "[pipeline]\nname = \"x\"\n", "p.json": "{}",
	} {
		write(t, dir, name, text)
	}
	t.Chdir(dir)
	for file, want := range map[string]string{
		"c1.hcl": `read pipeline: c1.hcl does not exist: did you mean "ci.hcl"?`, "other.hcl": "other.hcl does not exist; there is ci.hcl, doc.hcl, jobs.hcl, list.hcl, nightly.hcl, …",
		".": ". is a directory, and a FILE is expected; there is ci.hcl", "sub": "sub is a directory, and a FILE is expected: pipelined init sub writes one",
		"no/x.hcl": "no/x.hcl does not exist, nor does its directory", filepath.Join(empty, "x.hcl"): "does not exist: pipelined init " + empty + " writes one",
		"jobs.hcl": "jobs.hcl is written in YAML, and a pipeline in HCL: pipelined init writes one", "list.hcl": "written in YAML", "doc.hcl": "written in YAML",
		"object.hcl": "object.hcl is written in JSON", "table.hcl": "table.hcl is written in TOML", "p.json": "p.json is a file of another tool",
	} {
		for _, command := range []string{"validate", "plan"} {
			if code, _, stderr := newCommand(t, nil).exec(command, file); code != exitUsage || !strings.Contains(stderr, want) {
				t.Errorf("%s %s: exit %d: %s want %q", command, file, code, stderr, want)
			}
		}
	}
	if code, _, stderr := newCommand(t, nil).exec("validate", "ci.hcl"); code != 0 {
		t.Errorf("a pipeline is refused: %s", stderr)
	}
}

// Without FILE a command takes the one pipeline of the directory.
func TestFile_none(t *testing.T) {
	const one = "pipeline \"p\" {\n  module \"m\" { command = [\"true\"] }\n}\n"
	dir := t.TempDir()
	write(t, dir, "lib.hcl", "# pipeline\nlocals {\n  pipeline = 1\n}\n")
	write(t, dir, "settings.hcl", "pipeline = \"x\"\n")
	t.Chdir(dir)
	validate := func() (int, string) {
		code, stdout, stderr := newCommand(t, nil).exec("validate")
		return code, stdout + stderr
	}

	if code, out := validate(); code != exitUsage || !strings.Contains(out, "no FILE is given, and no pipeline is in the 2 .hcl files of this directory") {
		t.Errorf("none: exit %d: %s", code, out)
	}
	write(t, dir, "ci.hcl", one)
	if code, out := validate(); code != 0 || !strings.Contains(out, "ci.hcl: pipeline p is valid") {
		t.Errorf("one: exit %d: %s", code, out)
	}
	write(t, dir, "nightly.hcl", "pipeline \"broken {")
	if code, out := validate(); code != exitUsage || !strings.Contains(out, "this directory has 2 pipelines and no pipeline.hcl: name one of ci.hcl, nightly.hcl") {
		t.Errorf("two: exit %d: %s", code, out)
	}
	if err := os.Symlink("none.hcl", "pipeline.hcl"); err != nil {
		t.Fatal(err)
	}
	if code, out := validate(); code != exitUsage || !strings.Contains(out, "validate: pipeline.hcl is a link to none.hcl, which does not exist") {
		t.Errorf("a link to nothing: exit %d: %s", code, out)
	}
	if err := os.Remove("pipeline.hcl"); err != nil {
		t.Fatal(err)
	}
	write(t, dir, "pipeline.hcl", one)
	if code, out := validate(); code != 0 || !strings.Contains(out, "pipeline.hcl: pipeline p is valid") {
		t.Errorf("pipeline.hcl: exit %d: %s", code, out)
	}
}

// Files of flags that are not what they should be.
func TestFlags_wrongFiles(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, "ci.hcl", "pipeline \"p\" {\n}\n")
	t.Chdir(dir)
	for line, want := range map[string]string{
		"members -token-file none": "none: no such file or directory: -token-file takes a file that holds a token",
		"members -key-file .":      "cluster key",
		"agent -config ci.hcl":     "ci.hcl is a pipeline: -config takes settings of an agent",
		"members -addr x":          `unknown flag -addr of members: did you mean "-address"?`,
		"members -address a:99999": `address "a:99999": expected HOST:PORT`,
		"members -address :8080":   `address ":8080": expected HOST:PORT`,
	} {
		c := newCommand(t, nil)
		if strings.Contains(line, "-key-file") {
			delete(c.env, "PIPELINED_TOKEN")
		}
		if code, _, stderr := c.exec(strings.Fields(line)...); code != exitUsage && code != exitForbidden || !strings.Contains(stderr, want) {
			t.Errorf("%s: exit %d: %s want %q", line, code, stderr, want)
		}
	}
	if _, err := os.Stat("pipelined"); err == nil {
		t.Error("a refused command made files")
	}
}
