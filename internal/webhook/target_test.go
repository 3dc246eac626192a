package webhook_test

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/pipelined/pipelined/internal/webhook"
	"github.com/pipelined/pipelined/pipeline"
)

func TestRules_Check(t *testing.T) {
	refused := []string{
		"127.0.0.1", "127.255.255.254", "::1", "0.0.0.0", "0.1.2.3", "::", "169.254.169.254", "169.254.0.1", "fe80::1", "fe80::1%eth0", "febf::1", "fec0::1",
		"224.0.0.1", "239.255.255.255", "ff02::1", "255.255.255.255", "100.100.100.200", "fd00:ec2::254",
		"::ffff:127.0.0.1", "::ffff:169.254.169.254", "::127.0.0.1", "64:ff9b::7f00:1", "64:ff9b::169.254.169.254", "64:ff9b:1::127.0.0.1", "2002:7f00:1::", "2002:a9fe:a9fe::1",
	}
	for _, text := range refused {
		err := webhook.Rules{}.Check(netip.MustParseAddr(text))
		if pipeline.KindOf(err) != pipeline.Forbidden {
			t.Errorf("%s: %v", text, err)
		}
	}

	for _, text := range []string{"10.0.0.5", "172.16.0.1", "192.168.1.1", "100.64.0.1", "93.184.216.34", "2606:2800::1", "fd12:3456::1", "64:ff9b::a00:5", "2002:a00:5::"} {
		if err := (webhook.Rules{}).Check(netip.MustParseAddr(text)); err != nil {
			t.Errorf("%s: %v", text, err)
		}
	}
}

func TestParseRules(t *testing.T) {
	rules, err := webhook.ParseRules([]string{"127.0.0.0/8", "::1", "169.254.10.10"})
	if err != nil {
		t.Fatal(err)
	}
	for _, text := range []string{"127.0.0.1", "127.9.9.9", "::1", "169.254.10.10", "::ffff:127.0.0.1"} {
		if err := rules.Check(netip.MustParseAddr(text)); err != nil {
			t.Errorf("%s: %v", text, err)
		}
	}
	for _, text := range []string{"169.254.169.254", "fe80::1", "0.0.0.0", "::"} {
		if rules.Check(netip.MustParseAddr(text)) == nil {
			t.Errorf("%s is allowed", text)
		}
	}

	for _, bad := range []string{"localhost", "127.0.0.1/99", "fe80::1%eth0", "::ffff:127.0.0.1", ""} {
		if _, err := webhook.ParseRules([]string{bad}); err == nil {
			t.Errorf("%q is accepted", bad)
		}
	}
}

func TestRules_CheckURL(t *testing.T) {
	for _, good := range []string{"https://example.com/hook", "http://10.0.0.5:9000/x?y=z", "https://[2606:2800::1]/", "HTTPS://Example.com", "http://localhost/", "https://127.1/"} {
		if err := (webhook.Rules{}).CheckURL(good); err != nil {
			t.Errorf("%s: %v", good, err)
		}
	}
	for _, bad := range []string{"", "example.com", "ftp://example.com", "file:///etc/passwd", "unix:///run/x.sock", "https://", "https:///x", "https://u:p@example.com/", "https://example.com/#x",
		"https://example.com/a b", "https://example.com/\n", "http:example.com", "gopher://x", "http://127.0.0.1/", "http://[::1]:80/", "http://[fe80::1]/", "http://0.0.0.0/", "http://169.254.169.254/latest",
		"http://[::ffff:127.0.0.1]/", "https://example.com/" + strings.Repeat("x", 2048)} {
		if err := (webhook.Rules{}).CheckURL(bad); err == nil {
			t.Errorf("%s is accepted", bad)
		}
	}
}
