package attack

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"io"
	"math/big"
	"net"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/pipelined/pipelined/test/harness"
)

// A caller of the peer port without a certificate of the cluster's authority gets
// nothing, whatever protocol it asks for and whatever name its certificate has.
func TestPeerPort_foreignCertificate(t *testing.T) {
	c := harness.Start(t, 1)
	address := c.Nodes[0].IP + ":7947"
	for name, certificates := range map[string][]tls.Certificate{"none": nil, "foreign": {selfSigned(t, c.Nodes[0].Name)}} {
		for _, protocol := range []string{"h2", "raft", "http/1.1", ""} {
			t.Run(name+" "+protocol, func(t *testing.T) {
				cfg := &tls.Config{InsecureSkipVerify: true, Certificates: certificates}
				if protocol != "" {
					cfg.NextProtos = []string{protocol}
				}
				conn, err := tls.DialWithDialer(&net.Dialer{Timeout: 10 * time.Second}, "tcp", address, cfg)
				if err != nil {
					return // refused in the handshake
				}
				defer conn.Close()
				answersNothing(t, conn, "POST /peer/sync HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{}")
			})
		}
	}

	conn, err := net.DialTimeout("tcp", address, 10*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	answersNothing(t, conn, "POST /peer/sync HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{}")
}

// answersNothing sends a request and fails if anything but an error comes back.
func answersNothing(t *testing.T, conn net.Conn, request string) {
	t.Helper()
	if err := conn.SetDeadline(time.Now().Add(harness.Wait)); err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(conn, request); err != nil {
		return
	}
	got, _ := io.ReadAll(io.LimitReader(conn, 4<<10)) // an error is what is expected
	if bytes.Contains(got, []byte(" 200 ")) || bytes.Contains(got, []byte("lease")) {
		t.Errorf("answered %q", got)
	}
}

// selfSigned makes a certificate that claims to be a node's.
func selfSigned(t *testing.T, name string) tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, DNSNames: []string{name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

// Streams of bytes that no member sent take no memory on the gossip port and the peer
// port, and the node stays healthy.
func TestPorts_noise(t *testing.T) {
	c := harness.Start(t, 1)
	n := c.Nodes[0]
	before := memory(t, n.PID(), "RssAnon")
	noise := bytes.Repeat([]byte{0xff, 0x00, 0x7f, 0x41}, 256<<10)
	done := make(chan struct{})
	for _, port := range []string{"7946", "7947"} {
		for range 50 {
			go func() {
				defer func() { done <- struct{}{} }()
				conn, err := net.DialTimeout("tcp", n.IP+":"+port, 10*time.Second)
				if err != nil {
					return
				}
				defer conn.Close()
				_ = conn.SetDeadline(time.Now().Add(20 * time.Second))
				_, _ = conn.Write(noise) // the node may hang up
				_, _ = io.Copy(io.Discard, conn)
			}()
		}
	}
	for range 100 {
		<-done
	}

	if grown := memory(t, n.PID(), "VmHWM") - before; grown > 200 {
		t.Errorf("the node took %d MB", grown)
	}
	c.Whole()
}

// memory reads a value of a process's status, in MiB.
func memory(t *testing.T, pid int, name string) int {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		t.Fatalf("the process has ended: %v", err)
	}
	for line := range strings.Lines(string(text)) {
		if fields := strings.Fields(line); len(fields) > 1 && fields[0] == name+":" {
			kib, err := strconv.Atoi(fields[1])
			if err != nil {
				t.Fatal(err)
			}
			return kib >> 10
		}
	}
	t.Fatalf("the process has no %s: it has ended", name)
	return 0
}
