package api_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/pipelined/pipelined/api"
	"github.com/pipelined/pipelined/api/apitest"
	"github.com/pipelined/pipelined/api/wire"
	"github.com/pipelined/pipelined/pipeline"
)

// logOf is a backend with one output, which may grow; read counts the bytes that were
// given out.
func logOf(text *[]byte, read *int64) *apitest.Backend {
	return &apitest.Backend{Logs: apitest.Logs{LogFunc: func(_ context.Context, _ pipeline.RunID, _ string, _ int, offset int64) (io.ReadCloser, api.LogInfo, error) {
		size := int64(len(*text))
		r := io.TeeReader(bytes.NewReader((*text)[min(offset, size):]), counter{read})
		return io.NopCloser(r), api.LogInfo{Attempt: 1, Size: size}, nil
	}}}
}

type counter struct{ n *int64 }

func (c counter) Write(p []byte) (int, error) {
	*c.n += int64(len(p))
	return len(p), nil
}

// numbered are n lines of different lengths, longer than several chunks of the index.
func numbered(n int) []byte {
	var b bytes.Buffer
	for i := range n {
		fmt.Fprintf(&b, "line %d%s\n", i+1, strings.Repeat(" x", i%57))
	}
	return b.Bytes()
}

func TestLog_lines(t *testing.T) {
	output := numbered(20000)
	output = append(output, "the last has no end"...)
	var read int64
	n := newNode(t, logOf(&output, &read))
	base := "GET /api/v1/runs/r1/modules/logs?module=m&"
	lines := bytes.SplitAfter(output, []byte{'\n'})
	want := func(from, to int) string { return string(bytes.Join(lines[from-1:to], nil)) }

	for _, tc := range []struct {
		query, want string
		first       int
	}{
		{"line=1&count=2", want(1, 2), 1}, {"line=1", want(1, 500), 1}, {"line=12500&count=3", want(12500, 12502), 12500}, {"line=20001", want(20001, 20001), 20001},
		{"line=-1", "the last has no end", 20001}, {"line=-3&count=2", want(19999, 20000), 19999}, {"line=-99999&count=1", want(1, 1), 1}, {"line=20002", "", 20002},
	} {
		r := ask(t, n.public.URL, base+tc.query, "", asRead)
		h := r.Header
		if got := text(t, r); r.StatusCode != 200 || got != tc.want || h.Get("X-Pipelined-Line") != strconv.Itoa(tc.first) ||
			h.Get("X-Pipelined-Offset") != strconv.Itoa(len(bytes.Join(lines[:tc.first-1], nil))) || h.Get("X-Pipelined-Lines") != "20001" || h.Get("X-Pipelined-Size") != strconv.Itoa(len(output)) {
			t.Errorf("%s: %d %q, %v", tc.query, r.StatusCode, got[:min(len(got), 80)], h)
		}
	}

	// What was counted is not read again, and what comes later is.
	read = 0
	if r := ask(t, n.public.URL, base+"line=16000&count=1", "", asRead); text(t, r) != want(16000, 16000) || read > 600<<10 {
		t.Errorf("%d of %d bytes were read", read, len(output))
	}
	output = append(output, " yet\nnew\n"...)
	lines = bytes.SplitAfter(output, []byte{'\n'})
	if r := ask(t, n.public.URL, base+"line=-2", "", asRead); text(t, r) != "the last has no end yet\nnew\n" {
		t.Errorf("what grew: %v", r.Header)
	}
	var meta wire.LogMeta
	if err := json.Unmarshal([]byte(text(t, ask(t, n.public.URL, base+"meta=1", "", asRead))), &meta); err != nil || meta != (wire.LogMeta{Attempt: 1, Size: int64(len(output)), Lines: 20002}) {
		t.Errorf("got %+v, %v", meta, err)
	}

	for query, status := range map[string]int{"line=0": 400, "line=x": 400, "line=1&count=0": 400, "line=1&count=9999": 400, "line=29999": 416, "line=1&tail=5": 400, "meta=1&follow=1": 400,
		"search=": 400, "search=a&limit=0": 400, "search=(&regexp=1": 400, "search=a&lines=3": 400, "search=" + strings.Repeat("a", 300): 400} {
		if r := ask(t, n.public.URL, base+query, "", asRead); r.StatusCode != status {
			t.Errorf("%s: %d, want %d", query, r.StatusCode, status)
		}
	}
}

// Of an output whose counts are known no more is read than its end and what is asked
// for, and the lines are the same.
func TestLog_lines_counted(t *testing.T) {
	for _, end := range []int{0, 1, 100_000} {
		output := numbered(20000)
		output = append(output, bytes.Repeat([]byte{'x'}, 2*pipeline.LogChunk-len(output)%pipeline.LogChunk+end)...)
		var read int64
		backend := logOf(&output, &read)
		n := newNode(t, backend)
		var counts pipeline.LogCounts
		_, _ = counts.Write(output)
		backend.Logs.LineEndsFunc = func(context.Context, pipeline.RunID, string, int) ([]int64, error) {
			return pipeline.ReadLogCounts(counts.Bytes()), nil
		}
		counted := newNode(t, backend)
		for _, query := range []string{"line=-1&count=1", "line=1&count=1", "line=9000&count=3", "line=20000", "line=-3"} {
			what := "GET /api/v1/runs/r1/modules/m/logs?" + query
			want := ask(t, n.public.URL, what, "", asRead)
			read = 0
			r := ask(t, counted.public.URL, what, "", asRead)
			if text(t, r) != text(t, want) || r.Header.Get("X-Pipelined-Lines") != "20001" || r.Header.Get("X-Pipelined-Offset") != want.Header.Get("X-Pipelined-Offset") || read > 1200<<10 {
				t.Errorf("%d: %s: %d of %d bytes were read, %v", end, query, read, len(output), r.Header)
			}
		}
	}
}

// With timestamps each line has its time, and the lines are the same.
func TestLog_lines_times(t *testing.T) {
	output := numbered(300)
	var read int64
	backend := logOf(&output, &read)
	at := time.Date(2026, 11, 29, 15, 0, 0, 0, time.UTC)
	backend.Logs.FollowFunc = func(_ context.Context, _ pipeline.RunID, in wire.FollowRequest, send func(wire.LogEvent) error) error {
		from := in.Positions["m"]
		if from.Attempt != 1 || in.Follow || !in.Times {
			t.Errorf("asked for %+v", in)
		}
		for _, module := range []string{"m[other]", "m"} {
			for offset := from.Offset; offset < int64(len(output)); offset += 100 { // pieces end within lines
				piece := output[offset:min(offset+100, int64(len(output)))]
				if err := send(wire.LogEvent{Module: module, Attempt: 1, Offset: offset, Text: string(piece), Time: at.Add(time.Duration(offset) * time.Millisecond)}); err != nil {
					return err
				}
			}
		}
		return nil
	}
	n := newNode(t, backend)
	base := "GET /api/v1/runs/r1/modules/logs?module=m&line=200&count=20"
	want := text(t, ask(t, n.public.URL, base, "", asRead))
	r := ask(t, n.public.URL, base+"&timestamps=1", "", asRead)
	got := text(t, r)
	if stripped := regexp.MustCompile(`(?m)^2026-11-29T15:\S+Z `).ReplaceAllString(got, ""); r.StatusCode != 200 || stripped != want || stripped == got || r.Header.Get("X-Pipelined-Line") != "200" {
		t.Errorf("%d %q", r.StatusCode, got)
	}
	for _, query := range []string{"search=a&timestamps=1", "meta=1&timestamps=1"} {
		if r := ask(t, n.public.URL, "GET /api/v1/runs/r1/modules/logs?module=m&"+query, "", asRead); r.StatusCode != 400 {
			t.Errorf("%s: %d", query, r.StatusCode)
		}
	}
}

// A module without an attempt has no lines, also if its first attempt begins meanwhile:
// its output is not given as that of no attempt.
func TestLog_lines_noAttempt(t *testing.T) {
	attempt := 0
	n := newNode(t, &apitest.Backend{Logs: apitest.Logs{LogFunc: func(context.Context, pipeline.RunID, string, int, int64) (io.ReadCloser, api.LogInfo, error) {
		info := api.LogInfo{Attempt: attempt, Size: int64(6 * attempt)}
		attempt++
		return io.NopCloser(strings.NewReader("first\n"[:info.Size])), info, nil
	}}})
	r := ask(t, n.public.URL, "GET /api/v1/runs/r1/modules/m/logs?line=1", "", asRead)
	if got := text(t, r); r.StatusCode != 200 || got != "" || r.Header.Get("X-Pipelined-Attempt") != "0" || r.Header.Get("X-Pipelined-Lines") != "0" {
		t.Errorf("%d %q, %v", r.StatusCode, got, r.Header)
	}
}

// Who waits for the index of an output that another call reads waits no longer than its
// own call lasts.
func TestLog_lines_slowOutput(t *testing.T) {
	reading := newGate()
	n := newNode(t, &apitest.Backend{Logs: apitest.Logs{LogFunc: func(ctx context.Context, _ pipeline.RunID, _ string, attempt int, _ int64) (io.ReadCloser, api.LogInfo, error) {
		return io.NopCloser(strings.NewReader("")), api.LogInfo{Attempt: attempt}, reading.wait(ctx)
	}}})
	first := make(chan *http.Response, 1)
	what := "GET /api/v1/runs/r1/modules/m/logs?attempt=1&meta=1"
	go func() { first <- ask(t, n.public.URL, what, "", asRead) }()
	within(t, reading.entered, "the output is not read")

	ended := make(chan int, 1)
	handler := n.PublicHandler()
	ctx, leave := context.WithCancel(t.Context())
	go func() {
		w := httptest.NewRecorder()
		r := httptest.NewRequestWithContext(ctx, http.MethodGet, "http://localhost"+strings.TrimPrefix(what, "GET "), nil)
		r.Header.Set("Authorization", "Bearer read")
		handler.ServeHTTP(w, r)
		ended <- w.Code
	}()
	leave()
	within(t, ended, "a caller that has gone still waits")
	close(reading.release)
	if r := within(t, first, "the first call does not end"); r.StatusCode != http.StatusOK {
		t.Errorf("the first call: %d", r.StatusCode)
	}
}

// search gives the matches of a query.
func search(t *testing.T, url, query string) (out wire.LogMatches) {
	t.Helper()
	r := ask(t, url, "GET /api/v1/runs/r1/modules/m/logs?"+query, "", asRead)
	body := text(t, r)
	if err := json.Unmarshal([]byte(body), &out); err != nil || r.StatusCode != 200 {
		t.Fatalf("%s: %d %s", query, r.StatusCode, body)
	}
	return out
}

func TestLog_search(t *testing.T) {
	output := []byte("alpha Beta\n\nBETA beta\nnone\nbe\nta ÄB.x\nthe last beta")
	var read int64
	n := newNode(t, logOf(&output, &read))
	for query, want := range map[string]string{
		"search=beta":                  "[{1 0 7} {3 12 1} {7 39 10}] 0 3",
		"search=BETA":                  "[{1 0 7} {3 12 1} {7 39 10}] 0 3",
		"search=beta&case=1":           "[{3 12 6} {7 39 10}] 0 2",
		"search=b.x":                   "[{6 30 6}] 0 1",
		"search=b.ta&regexp=1":         "[{1 0 7} {3 12 1} {7 39 10}] 0 3",
		"search=%5Ebe&regexp=1&case=1": "[{5 27 1}] 0 1",
		"search=beta&limit=1":          "[{1 0 7}] 3 3",
		"search=beta&from=2&limit=1":   "[{3 12 1}] 7 3",
		"search=zzz":                   "[] 0 0",
		"search=%C3%84":                "[{6 30 4}] 0 1",
	} {
		out := search(t, n.public.URL, query)
		if got := fmt.Sprint(out.Matches, out.Next, out.Total); got != want || !out.Complete {
			t.Errorf("%s: got %s, want %s", query, got, want)
		}
	}
}

// A large output is searched as a naive search does it, over the ends of blocks.
func TestLog_search_large(t *testing.T) {
	var b bytes.Buffer
	for i := 0; b.Len() < 3<<20; i++ {
		word := "quiet"
		if i%977 == 0 {
			word = "ERROR: Needle"
		}
		fmt.Fprintf(&b, "%d %s %s\n", i, word, strings.Repeat("nEed ", i%13))
	}
	output := b.Bytes()
	var read int64
	n := newNode(t, logOf(&output, &read))
	for query, find := range map[string]func(string) int{
		"search=needle":        func(s string) int { return strings.Index(strings.ToLower(s), "needle") },
		"search=Needle&case=1": func(s string) int { return strings.Index(s, "Needle") },
		"search=ERROR.%2Bd&regexp=1": func(s string) int {
			if at := regexp.MustCompile("(?i)error.+d").FindStringIndex(s); at != nil {
				return at[0]
			}
			return -1
		},
	} {
		var want []wire.LogMatch
		offset := int64(0)
		for i, line := range strings.SplitAfter(string(output), "\n") {
			if at := find(line); at >= 0 {
				want = append(want, wire.LogMatch{Line: int64(i + 1), Offset: offset, Column: at + 1})
			}
			offset += int64(len(line))
		}
		out := search(t, n.public.URL, query+"&limit=2000")
		if !out.Complete && strings.Contains(query, "regexp") {
			// A busy machine with the race detector takes longer than a search may.
			want = want[:min(len(want), int(out.Total))]
		}
		if int(out.Total) != len(want) || fmt.Sprint(out.Matches) != fmt.Sprint(want[:min(len(want), 2000)]) {
			t.Errorf("%s: %d matches, want %d", query, out.Total, len(want))
		}
	}
}

// A regular expression finds the same lines whether or not it has texts by which lines
// are left out.
func FuzzSearch_regexp(f *testing.F) {
	for _, expression := range []string{"a|bc", "x*", "(ab)+c?", "^(?:\x1b\\[m)*(?:::group::|section_start:)", "(?i)k", "\uFFFD", "a{2,3}$", "(a|)b", "[ab]c", "a.c|d", "--- [^A-Z]"} {
		f.Add(expression, "ab\nabc\n\x1b[m::group::x\nsection_start:\n--- a\nK \u212a \xff\naab\n\naXc\nd")
	}
	f.Fuzz(func(t *testing.T, expression, output string) {
		re, err := regexp.Compile(expression)
		if err != nil || expression == "" || len(expression) > 256 || strings.ContainsAny(expression, "\n\x00") {
			return
		}
		var want []int64
		lines := strings.Split(output, "\n")
		if lines[len(lines)-1] == "" {
			lines = lines[:len(lines)-1]
		}
		for i, line := range lines {
			if re.MatchString(line) {
				want = append(want, int64(i+1))
			}
		}
		text := []byte(output)
		var read int64
		n := newNode(t, logOf(&text, &read))
		var got []int64
		for _, m := range search(t, n.public.URL, "case=1&regexp=1&limit=2000&search="+url.QueryEscape(expression)).Matches {
			got = append(got, m.Line)
		}
		if len(want) < 2000 && !slices.Equal(got, want) {
			t.Errorf("%q in %q: lines %d, want %d", expression, output, got, want)
		}
	})
}

func BenchmarkSearch(b *testing.B) {
	output := bytes.Repeat([]byte("\x1b[32mok\x1b[0m   github.com/pipelined/pipelined/internal/worker 41.2s of tests, nothing found\n"), 100<<20/90)
	markers := url.QueryEscape(`^(?:\x1b\[[0-9;]*[A-Za-z])*(?:::group::|section_start:)`)
	for _, query := range []string{"search=needle", "search=Tested", "search=github", "search=needle&case=1", "search=" + markers + "&case=1&regexp=1"} {
		b.Run(query, func(b *testing.B) {
			var read int64
			n := newNode(b, logOf(&output, &read))
			b.SetBytes(int64(len(output)))
			for b.Loop() {
				r := ask(b, n.public.URL, "GET /api/v1/runs/r1/modules/m/logs?"+query, "", asRead)
				_, _ = io.Copy(io.Discard, r.Body)
			}
		})
	}
}
