package fsm

import (
	"fmt"
	"runtime"
	"strings"
	"testing"
	"unsafe"

	"github.com/pipelined/pipelined/pipeline"
)

// instances gives a definition of a block with n instances, whose script is the same.
func instances(tb testing.TB, n int, script string) []byte {
	tb.Helper()
	p := &pipeline.Pipeline{Name: "p"}
	for i := range n {
		key := fmt.Sprint(i)
		p.Modules = append(p.Modules, pipeline.Module{Name: pipeline.InstanceName("m", key), Of: "m", Key: key, Script: script,
			Env: map[string]string{"A": script}, Matrix: map[string]string{"a": key}, DependsOn: []string{"before"}})
	}
	b, err := EncodeDefinition(p)
	if err != nil {
		tb.Fatal(err)
	}
	return b
}

func heap() int {
	runtime.GC()
	runtime.GC() // pools keep their buffers for one
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int(m.HeapAlloc)
}

// A definition of a few kilobytes, whose modules have 32 MB of text together, takes
// the memory of its modules, and its estimate says so.
func TestDecodeDefinition_shares(t *testing.T) {
	b := instances(t, 4096, strings.Repeat("x", 4<<10))
	before := heap()
	p, bytes, err := decodeDefinition(b)
	if err != nil {
		t.Fatal(err)
	}
	took := heap() - before
	if took > 12<<20 || bytes > 2*took || took > 2*bytes {
		t.Errorf("%d bytes of definition take %d of memory, estimated as %d", len(b), took, bytes)
	}

	runtime.KeepAlive(b)
	first, last := &p.Modules[0], &p.Modules[4095]
	if last.Name != "m[4095]" || last.Matrix["a"] != "4095" || last.Env["A"] != first.Script || unsafe.StringData(last.Script) != unsafe.StringData(first.Script) {
		t.Errorf("decoded %+v", last)
	}
}

// Definitions of runs that are gone are dropped, and their bytes are free.
func TestDefinitionCache_drop(t *testing.T) {
	c := newDefinitionCache()
	for _, id := range []pipeline.RunID{"a", "b", "c"} {
		c.put(id, cachedDefinition{raw: string(id), def: &pipeline.Pipeline{}, bytes: 10})
	}
	c.drop([]pipeline.RunID{"a", "never", "c"})
	if len(c.byID) != 1 || len(c.order) != 1 || c.order[0] != "b" || c.bytes != 10 {
		t.Errorf("left are %v, %d bytes", c.order, c.bytes)
	}
}

// What is kept is bounded in bytes, and the last one is kept however large.
func TestDefinitionCache_bytes(t *testing.T) {
	c := newDefinitionCache()
	put := func(id string, bytes int) {
		c.put(pipeline.RunID(id), cachedDefinition{raw: id, def: &pipeline.Pipeline{}, bytes: bytes})
	}
	kept := func(ids ...string) {
		t.Helper()
		for _, id := range ids {
			if c.get(pipeline.RunID(id), []byte(id)) == nil {
				t.Errorf("%s is not kept", id)
			}
		}
		if len(c.byID) != len(ids) || len(c.order) != len(ids) {
			t.Errorf("%d are kept, want %v", len(c.byID), ids)
		}
	}

	put("a", 1)
	put("b", maxDefinitions-2)
	put("c", 1)
	kept("a", "b", "c")
	put("d", 1)
	kept("b", "c", "d")
	put("d", 2)
	kept("c", "d")
	put("e", 2*maxDefinitions)
	kept("e")
	put("f", 1)
	kept("f")
	if c.bytes != 1 {
		t.Errorf("they count as %d bytes, want 1", c.bytes)
	}
}

func BenchmarkDecodeDefinition(b *testing.B) {
	for _, n := range []int{10, 1000} {
		raw := instances(b, n, "make test")
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			for b.Loop() {
				if _, _, err := decodeDefinition(raw); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
