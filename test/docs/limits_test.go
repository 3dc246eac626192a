package docs

import (
	"fmt"
	"go/ast"
	"go/constant"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// limit is a constant of the code as docs/limits.md shows it.
type limit struct {
	// about says what is limited, of is the directory and name of the constant.
	about, of string
	// unit is what the constant counts: bytes, time, or nothing.
	unit string
}

const (
	inBytes = "bytes"
	inTime  = "time"
)

// limitTables are the tables of docs/limits.md.
var limitTables = map[string][]limit{
	"pipelines": {
		{"source of a pipeline", "pipeline/language.MaxSourceBytes", inBytes},
		{"source that is kept for `retry -var`, with its imports", "pipeline.MaxGivenSource", inBytes},
		{"levels of pipelines that modules run", "pipeline.MaxChildDepth", ""},
		{"blocks and brackets within each other", "pipeline/language.maxDepth", ""},
		{"definition of a run, compiled and compressed", "fsm.MaxCommandBytes", inBytes},
		{"modules of a pipeline, instances included", "pipeline/language.maxModules", ""},
		{"instances of one `matrix` or `for_each`", "pipeline/language.maxInstances", ""},
		{"length of an instance's key", "pipeline/language.maxKey", ""},
		{"value that an expression makes", "pipeline/language.maxValue", inBytes},
		{"one argument of a `command`", "pipeline/language.maxArgument", inBytes},
		{"cron expressions of a schedule", "pipeline/calendar.MaxExpressions", ""},
		{"missed ticks that `catch_up = \"all\"` makes up for", "internal/orchestrator.maxCatchUp", ""},
		{"ticks of a backfill", "pipeline.MaxBackfillTicks", ""},
		{"runs of a backfill at the same time", "pipeline.MaxBackfillParallel", ""},
	},
	"modules": {
		{"results of a module", "pipeline.MaxResultBytes", inBytes},
		{"name of a result", "internal/worker/result.maxKey", inBytes},
		{"values that a module masks by `::add-mask::`", "pipeline/mask.MaxAdded", ""},
		{"all values that a module masks by `::add-mask::`", "pipeline/mask.MaxAddedBytes", inBytes},
		{"files of test reports of an attempt", "internal/worker.maxReportFiles", ""},
		{"one file of test reports", "internal/worker.maxReport", inBytes},
		{"all files of test reports of an attempt", "internal/worker.maxReports", inBytes},
		{"tests that are kept of an attempt", "internal/testreport.maxCases", ""},
		{"text that is kept of a failed test", "internal/testreport.maxText", inBytes},
	},
	"cluster": {
		{"secrets", "fsm.MaxSecrets", ""},
		{"value of a secret", "fsm.MaxSecretBytes", inBytes},
		{"browsers that are signed in", "fsm.MaxSignIns", ""},
		{"events that are kept", "fsm.maxEvents", ""},
		{"cached results", "fsm.maxCacheEntries", ""},
		{"life of a token", "internal/service.maxTokenLife", inTime},
		{"uses of a token with `-uses`", "internal/service.maxTokenUses", ""},
		{"deadline of a drain", "internal/service.maxDrainTime", inTime},
		{"modules at the same time on a node", "cmd/pipelined.maxSlots", ""},
	},
	"workers": {
		{"modules at the same time on an external worker", "internal/external.maxParallel", ""},
		{"tags of an external worker", "internal/external.maxTags", ""},
		{"tools of an external worker", "internal/external.maxTools", ""},
		{"listing of the outputs of an attempt", "internal/external.maxListing", inBytes},
		{"length of an `executionId` of a caller", "internal/external.maxExecutionID", ""},
		{"one call of an external worker", "internal/external.callTimeout", inTime},
	},
	"http": {
		{"body of a call with JSON", "api.maxDocument", inBytes},
		{"body of a submission, an execution or an outcome", "api.maxRunDoc", inBytes},
		{"time that a call may wait for a change", "api.maxWait", inTime},
		{"entries of a list", "api.maxList", ""},
		{"lines of a log in one answer", "api.maxCount", ""},
		{"matches of a search in a log", "api.maxMatches", ""},
	},
}

// TestLimits compares docs/limits.md with the constants. -update rewrites the tables.
func TestLimits(t *testing.T) {
	for name, limits := range limitTables {
		rows := "| limit | |\n|---|---|\n"
		for _, l := range limits {
			rows += fmt.Sprintf("| %s | %s |\n", l.about, value(t, l))
		}
		generated(t, "docs/limits.md", name, rows)
	}
}

// value is the value of a limit as the page shows it.
func value(t *testing.T, l limit) string {
	t.Helper()
	dir, name, _ := strings.Cut(l.of, ".")
	v := constantOf(t, dir, name)
	n, ok := constant.Int64Val(constant.ToInt(v))
	if !ok {
		t.Fatalf("%s is no whole number: %s", l.of, v)
	}
	switch l.unit {
	case inBytes:
		return bytesText(n)
	case inTime:
		return timeText(time.Duration(n))
	}
	return thousands(n)
}

func bytesText(n int64) string {
	for i, unit := range []string{"GiB", "MiB", "KiB"} {
		if size := int64(1) << (30 - 10*i); n >= size && n%size == 0 {
			return fmt.Sprintf("%d %s", n/size, unit)
		}
	}
	return thousands(n) + " bytes"
}

func timeText(d time.Duration) string {
	const day = 24 * time.Hour
	if d >= day && d%day == 0 {
		return thousands(int64(d/day)) + " days"
	}
	return strings.Replace(strings.Replace(d.String(), "m0s", "m", 1), "h0m", "h", 1)
}

func thousands(n int64) string {
	s := fmt.Sprint(n)
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}

// constantOf evaluates a constant of a package from its source.
func constantOf(t *testing.T, dir, name string) constant.Value {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(root, dir, "*.go"))
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		if strings.HasSuffix(file, "_test.go") {
			continue
		}
		parsed, err := parser.ParseFile(token.NewFileSet(), file, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		if expr := constantIn(parsed, name); expr != nil {
			return evaluate(t, dir, expr)
		}
	}
	t.Fatalf("%s has no constant %s", dir, name)
	return nil
}

// constantIn finds the expression of a constant; nil if the file does not have it.
func constantIn(file *ast.File, name string) ast.Expr {
	for _, d := range file.Decls {
		g, ok := d.(*ast.GenDecl)
		if !ok || g.Tok != token.CONST && g.Tok != token.VAR { // variables: those that only tests change
			continue
		}
		for _, s := range g.Specs {
			v, ok := s.(*ast.ValueSpec)
			if ok && len(v.Values) == 1 && v.Names[0].Name == name {
				return v.Values[0]
			}
		}
	}
	return nil
}

var units = map[string]time.Duration{"Nanosecond": time.Nanosecond, "Millisecond": time.Millisecond, "Second": time.Second, "Minute": time.Minute, "Hour": time.Hour}

// evaluate gives the value of a constant expression.
func evaluate(t *testing.T, dir string, expr ast.Expr) constant.Value {
	t.Helper()
	switch e := expr.(type) {
	case *ast.BasicLit:
		return constant.MakeFromLiteral(e.Value, e.Kind, 0)
	case *ast.Ident:
		return constantOf(t, dir, e.Name)
	case *ast.ParenExpr:
		return evaluate(t, dir, e.X)
	case *ast.CallExpr: // a conversion
		return evaluate(t, dir, e.Args[0])
	case *ast.SelectorExpr:
		if unit, ok := units[e.Sel.Name]; ok {
			return constant.MakeInt64(int64(unit))
		}
	case *ast.BinaryExpr:
		x, y := evaluate(t, dir, e.X), evaluate(t, dir, e.Y)
		if e.Op == token.SHL {
			n, _ := constant.Uint64Val(y)
			return constant.Shift(x, token.SHL, uint(n))
		}
		return constant.BinaryOp(x, e.Op, y)
	}
	t.Fatalf("%s: a constant is made of %T, which this test does not know", dir, expr)
	return nil
}

// TestExitCodes compares the table of docs/cli.md with the constants of the command
// line and what their comments say. -update rewrites it.
func TestExitCodes(t *testing.T) {
	parsed, err := parser.ParseFile(token.NewFileSet(), filepath.Join(root, "cmd/pipelined/errors.go"), nil, parser.ParseComments)
	if err != nil {
		t.Fatal(err)
	}
	rows, n := "| code | |\n|---|---|\n", 0
	for _, d := range parsed.Decls {
		g, ok := d.(*ast.GenDecl)
		if !ok || g.Tok != token.CONST {
			continue
		}
		for _, s := range g.Specs {
			v := s.(*ast.ValueSpec)
			if strings.HasPrefix(v.Names[0].Name, "exit") && len(v.Values) == 1 {
				n++
				rows += fmt.Sprintf("| %s | %s |\n", v.Values[0].(*ast.BasicLit).Value, strings.TrimSpace(v.Comment.Text()))
			}
		}
	}
	if n < 6 {
		t.Fatalf("only %d exit codes were found", n)
	}
	generated(t, "docs/cli.md", "exit codes", rows)
}

// generated compares the part of a page between two comments with what the code
// gives, and rewrites it if -update is set.
func generated(t *testing.T, name, part, want string) {
	t.Helper()
	path := filepath.Join(root, name)
	raw, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	page := string(raw)
	begin, end := "<!-- "+part+": written by go test ./test/docs -update -->\n", "<!-- end of "+part+" -->"
	i := strings.Index(page, begin)
	j := strings.Index(page, end)
	if i < 0 || j < i {
		t.Fatalf("%s has no part between %q and %q", name, begin, end)
	}
	i += len(begin)
	if page[i:j] == want {
		return
	}
	if !*update {
		t.Errorf("%s does not agree with the code: run go test ./test/docs -update\ngot:\n%s\nwant:\n%s", name, page[i:j], want)
		return
	}
	if err := os.WriteFile(path, []byte(page[:i]+want+page[j:]), 0o600); err != nil {
		t.Fatal(err)
	}
}
