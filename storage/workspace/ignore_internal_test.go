package workspace

import (
	"testing"

	"github.com/pipelined/pipelined/storage/tree"
)

func FuzzIgnore(f *testing.F) {
	f.Add("*.o\n!/a/**/b\n[a-z]\\ ", "a/x/b")
	f.Add("**/**/**/a*a*a*[!", "aaaaaaaaaaaaaaaaaaaaaaaaaaaa/b")
	f.Fuzz(func(t *testing.T, rules, path string) {
		if tree.CheckPath(path) != "" {
			return
		}
		var l *ignoreList
		l.with(parseIgnore([]byte(rules), "")).decide(path, false)
	})
}
