package node

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"net/http"
	"sync/atomic"
	"testing"
)

// BenchmarkTools measures entries of other tools that 16 clients put and get at
// once, through HTTP, on three nodes in this process.
func BenchmarkTools(b *testing.B) {
	for _, size := range []int{4 << 10, 1 << 20} {
		x := openToolCluster(b, 3, false, Limits{})
		x.http.Transport = &http.Transport{MaxIdleConnsPerHost: 16}
		var keys atomic.Int64
		body := func(k int64) []byte {
			out := bytes.Repeat([]byte("0123456789abcdef"), size/16)
			binary.LittleEndian.PutUint64(out, uint64(k))
			return out
		}
		run := func(name, method string, shift int64, status int) {
			b.Run(fmt.Sprintf("%s/%d", name, size), func(b *testing.B) {
				b.SetParallelism(8) // on two processors: 16 clients
				b.SetBytes(int64(size))
				var next atomic.Int64
				b.RunParallel(func(pb *testing.PB) {
					for pb.Next() {
						k := keys.Add(1)
						if method == http.MethodGet {
							k = 1 + next.Add(1)%64
						}
						status1, got, err := x.ask(x.nodes[(k+shift)%3], method, acPath(int(k)), bytes.NewReader(body(k)))
						if err != nil || status1 != status {
							b.Errorf("%s %d: %d %s, %v", method, k, status1, got, err)
							return
						}
					}
				})
			})
		}
		for k := range 65 {
			x.must(x.nodes[k%3], "PUT", acPath(k), body(int64(k)), 201)
		}
		keys.Store(1000)
		run("put", http.MethodPut, 0, 201)
		run("get", http.MethodGet, 1, 200)
	}
}
