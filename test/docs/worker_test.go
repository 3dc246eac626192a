package docs

import (
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/pipelined/pipelined/api/wire"
	"github.com/pipelined/pipelined/pipeline"
)

// messages are the documents of the protocol of external workers.
var messages = []reflect.Type{
	reflect.TypeFor[wire.RegisterRequest](), reflect.TypeFor[wire.WorkerNode](), reflect.TypeFor[pipeline.Capabilities](), reflect.TypeFor[wire.RegisterResponse](),
	reflect.TypeFor[wire.HeartbeatRequest](), reflect.TypeFor[wire.HeartbeatResponse](),
	reflect.TypeFor[wire.ExecuteRequest](), reflect.TypeFor[wire.SerializedModule](), reflect.TypeFor[wire.ExecuteAccepted](), reflect.TypeFor[pipeline.TreeEntry](),
	reflect.TypeFor[wire.ExecuteResponse](), reflect.TypeFor[wire.SerializedResult](), reflect.TypeFor[wire.ResultResponse](),
	reflect.TypeFor[wire.CancelExecution](), reflect.TypeFor[wire.Success](),
}

var (
	messageTable = regexp.MustCompile(`(?m)^<!-- message: (\w+)(?: without ([a-z, ]+))? -->\n\| field \| type \| \|\n\|---\|---\|---\|\n((?:\|.*\n)+)`)
	messageRow   = regexp.MustCompile("(?m)^\\| `(\\w+)` \\| ([^|]+) \\| \\S.* \\|$")
)

// TestWorkerPage_messages compares the tables of docs/howto/external-worker.md with
// the types that the API reads and writes: all fields, in their order, with their types.
func TestWorkerPage_messages(t *testing.T) {
	page, err := os.ReadFile(filepath.Join(root, "docs/howto/external-worker.md"))
	if err != nil {
		t.Fatal(err)
	}

	said := map[string][][2]string{}
	without := map[string][]string{}
	for _, m := range messageTable.FindAllStringSubmatch(string(page), -1) {
		for _, row := range messageRow.FindAllStringSubmatch(m[3], -1) {
			said[m[1]] = append(said[m[1]], [2]string{row[1], row[2]})
		}
		if m[2] != "" {
			without[m[1]] = strings.Split(m[2], ", ")
		}
	}

	for _, message := range messages {
		var want [][2]string
		for field := range message.Fields() {
			name, _, _ := strings.Cut(field.Tag.Get("json"), ",")
			if !slices.Contains(without[message.Name()], name) {
				want = append(want, [2]string{name, typeWord(t, field.Type)})
			}
		}
		if diff := cmp.Diff(want, said[message.Name()]); diff != "" {
			t.Errorf("docs/howto/external-worker.md, %s (-type +page):\n%s", message.Name(), diff)
		}
		delete(said, message.Name())
	}
	for name := range said {
		t.Errorf("docs/howto/external-worker.md has a table for %s, which is no message of the protocol", name)
	}
}

// typeWord is what the page calls a type.
func typeWord(t *testing.T, typ reflect.Type) string {
	t.Helper()

	switch typ {
	case reflect.TypeFor[time.Time]():
		return "time"
	case reflect.TypeFor[wire.Clock]():
		return "duration"
	case reflect.TypeFor[pipeline.Digest]():
		return "digest"
	case reflect.TypeFor[[]string]():
		return "list of texts"
	}
	switch typ.Kind() {
	case reflect.Pointer:
		return typeWord(t, typ.Elem())
	case reflect.String:
		return "text"
	case reflect.Bool:
		return "boolean"
	case reflect.Int, reflect.Int64, reflect.Uint32, reflect.Float64:
		return "number"
	case reflect.Struct:
		return "object"
	case reflect.Slice: // json.RawMessage
		return "any"
	case reflect.Map:
		return "object of " + plural(typeWord(t, typ.Elem()))
	}
	t.Fatalf("the page has no word for %s", typ)
	return ""
}

// plural is the word for several of a type.
func plural(word string) string {
	if word == "text" {
		return "texts"
	}
	return word
}
