package e2e

import (
	"fmt"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/pipelined/pipelined/pipeline"
	"github.com/pipelined/pipelined/storage"
	"github.com/pipelined/pipelined/test/harness"
)

const (
	chunkedBytes = 64 << 20
	chunkedLine  = "a line that was not there before"
)

// chunkedPipeline makes an artifact of 64 MiB with a line put in at a place, and
// uses it on another node.
func chunkedPipeline(at int) string {
	return fmt.Sprintf(`pipeline "versions" {
  workspace { exclude = ["**"] }
  module "make" {
    outputs = ["data"]
    requires = { tags = ["maker"] }
    script  = "seq 1 20000000 | head -c %[1]d > all; head -c %[2]d all > data; echo %[3]s >> data; tail -c +%[2]d all >> data; sha256sum data"
  }
  module "use" {
    depends_on = [module.make]
    requires = { tags = ["user"] }
    script = "sha256sum data"
  }
}`, chunkedBytes, at, chunkedLine)
}

// transfers tells what the log of a node says of large blobs that it fetched.
func transfers(t *testing.T, n *harness.Node) (takenOver, came []int64) {
	t.Helper()
	for _, m := range regexp.MustCompile(`transfer of a large blob ended:.* came=(\d+) "?taken over"?=(\d+)`).FindAllStringSubmatch(wholeLog(t, n), -1) {
		n, _ := strconv.ParseInt(m[1], 10, 64) // digits, both
		old, _ := strconv.ParseInt(m[2], 10, 64)
		takenOver, came = append(takenOver, old), append(came, n)
	}
	return takenOver, came
}

// lists is how many blobs of a node have a list of their chunks.
func lists(n *harness.Node) int {
	found, _ := filepath.Glob(filepath.Join(n.Data, "blobs", "??", "*.cdc")) // the pattern is right
	return len(found)
}

func awaitLists(t *testing.T, n *harness.Node, want int) {
	t.Helper()
	harness.Eventually(t, harness.Wait, func() error {
		if got := lists(n); got < want {
			return fmt.Errorf("%s has %d lists of chunks, want %d", n.Name, got, want)
		}
		return nil
	})
}

// submitVersion runs a version to its end and checks that it was used as it was
// made.
func submitVersion(t *testing.T, c *harness.Cluster, at int) {
	t.Helper()
	file := c.WriteFile("versions.hcl", chunkedPipeline(at))
	run := strings.TrimSpace(c.OK("submit", "-detach", "-address", c.Nodes[0].URL, file))
	checkVersion(t, c, run)
}

func checkVersion(t *testing.T, c *harness.Cluster, run string) {
	t.Helper()
	if r := c.CLI("wait", "-address", c.Nodes[0].URL, run); r.Code != 0 {
		t.Fatalf("wait: exit %d %s", r.Code, r.Stderr)
	}
	made, used := c.OK("logs", "-address", c.Nodes[0].URL, run, "make"), c.OK("logs", "-address", c.Nodes[0].URL, run, "use")
	if made != used || !strings.Contains(made, "data") {
		t.Errorf("made %q, used %q", made, used)
	}
}

// The second version of an artifact of 64 MiB, with a line put in, goes to a node
// that has the first one as some blocks; with the first one damaged there as well.
// A list that is false costs a second transfer and nothing else.
func TestChunks(t *testing.T) {
	c := harness.New(t)
	for _, tag := range []string{"maker", "other", "user"} {
		c.Add("-max-parallel", "1", "-pack-rate", "off", "-tag", tag).Start()
	}
	c.Whole()
	maker, user := c.Nodes[0], c.Nodes[2]
	submitVersion(t, c, 30_000_000)
	awaitLists(t, user, 1)
	submitVersion(t, c, 10_000_000)
	awaitLists(t, user, 2)
	over, came := transfers(t, user)
	if len(came) != 2 || over[0] != 0 || came[0] < chunkedBytes || over[1] < chunkedBytes*9/10 || came[1] > 4<<20 {
		t.Fatalf("taken over %v, came %v: want the first whole, and little of the second", over, came)
	}
	t.Logf("of the second version, %d bytes long, %d came over the wire (%.1f %%)", over[1]+came[1], came[1], 100*float64(came[1])/float64(over[1]+came[1]))
	for _, path := range plainLarge(t, user) {
		flipByte(t, path)
	}
	submitVersion(t, c, 50_000_000)
	over, came = transfers(t, user)
	// The damaged ones are fetched again as well.
	if len(came) < 3 || over[2]+came[2] < chunkedBytes || over[2] > chunkedBytes*9/10 {
		t.Errorf("with damaged blobs: taken over %v, came %v", over, came)
	}
	user.Kill()
	file := c.WriteFile("versions.hcl", chunkedPipeline(20_000_000))
	run := strings.TrimSpace(c.OK("submit", "-detach", "-address", maker.URL, file))
	made := map[*harness.Node]bool{}
	harness.Eventually(t, 2*harness.Wait, func() error {
		if s := lastModule(t, c, run, "make").State; s != "succeeded" {
			return fmt.Errorf("make is %s", s)
		}
		return nil
	})
	for _, n := range c.Nodes[:2] {
		made[n] = lie(t, n, 20_000_000)
	}
	if !made[maker] && !made[c.Nodes[1]] {
		t.Fatal("no node has the artifact")
	}
	user.Start()
	checkVersion(t, c, run)
	if log := wholeLog(t, user); !strings.Contains(log, "put together from what was here has other bytes") {
		t.Errorf("the false list was not noticed: %s", log)
	}
}

// lie makes a node tell a false list of the chunks of a version's artifact.
func lie(t *testing.T, n *harness.Node, at int) bool {
	t.Helper()
	b, err := storage.OpenBlobs(filepath.Join(n.Data, "blobs"), storage.BlobOptions{LowWater: -1})
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	done := false
	err = b.Walk(t.Context(), func(i storage.BlobInfo) error {
		if i.Size < chunkedBytes || !isVersion(t, b, i.Digest, at) {
			return nil
		}
		list, err := b.Chunks(t.Context(), i.Digest, nil)
		if err != nil {
			return err
		}
		slices.Reverse(list[:len(list)-1])
		b.KeepChunks(i.Digest, list)
		done = true
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return done
}

func isVersion(t *testing.T, b *storage.Blobs, d pipeline.Digest, at int) bool {
	r, err := b.Open(d)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	got := make([]byte, len(chunkedLine))
	_, err = r.ReadAt(got, int64(at))
	return err == nil && string(got) == chunkedLine
}
