package calendar_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/pipelined/pipelined/pipeline/calendar"
)

// The values are a promise: a schedule stays where it is with the next version.
func TestSpread(t *testing.T) {
	for expression, want := range map[string]string{
		"H H * * *":           "20 12 * * *",
		"H 3 * * *":           "20 3 * * *",
		"H/15 * * * *":        "5-59/15 * * * *",
		"H(0-29) 3 * * 1-5":   "20 3 * * 1-5",
		"H(10-39)/10 * * * *": "10-39/10 * * * *",
		"H,H * * * *":         "20,42 * * * *",
		"H H H * * *":         "54 20 12 * * *",
		"H 0 H H H":           "20 0 10 7 1",
		"0 H/20 * * *":        "0 4 * * *",
		"0 3 * * THU":         "0 3 * * THU",
		"@daily":              "@daily",
		"H":                   "H",
	} {
		got, err := calendar.Spread(expression, "nightly")
		if err != nil || got != want {
			t.Errorf("%s: got %q, %v, want %q", expression, got, err, want)
		}
		again, err := calendar.Spread(got, "nightly")
		if err != nil || again != got {
			t.Errorf("%s: what it came to becomes %q, %v", expression, again, err)
		}
	}
}

func TestSpread_mistakes(t *testing.T) {
	for expression, want := range map[string]string{
		"H(0-60) * * * *": "within 0-59", "H(20-10) * * * *": "within 0-59", "H(0-9 * * * *": "expected H", "Hx * * * *": "expected H", "H-5 * * * *": "expected H",
		"H/0 * * * *": "from 1 to 60", "H/61 * * * *": "from 1 to 60", "* H/25 * * *": "from 1 to 24", "* * H(0-3) * *": "within 1-31", "* * H(1-5)/6 * *": "from 1 to 5",
		"H * * *": "4 fields", "@H": "", "h * * * *": `minute "h": a value that follows from the pipeline's name is a capital H: H`,
		"0 h(0-5)/2 * * *": `hour "h(0-5)/2": a value that follows from the pipeline's name is a capital H: H(0-5)/2`,
	} {
		if err := calendar.Check(expression); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want %q", expression, err, want)
		}
	}
}

// Whatever the name, the expression is valid and stays in its range; a thousand names are
// spread over the minutes of a day.
func TestSpread_names(t *testing.T) {
	counts, minutes := map[string]int{}, map[int]int{}
	for i := range 1000 {
		name := fmt.Sprintf("pipeline-%d", i)
		for _, expression := range []string{"H H H H H", "H/7 H/5 H/3 * *", "H(5-9) H(20-23)/2 H(29-31) * H(1-5)", "H H H * * H"} {
			got, err := calendar.Spread(expression, name)
			if err == nil {
				err = calendar.Check(got)
			}
			if err != nil || strings.Contains(got, "H") {
				t.Fatalf("%s of %s: %q, %v", expression, name, got, err)
			}
		}

		got, _ := calendar.Spread("H H * * *", name)
		counts[got]++
		c, err := calendar.Parse([]string{got}, "")
		if err != nil {
			t.Fatal(err)
		}
		minutes[c.Next(time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)).Minute()]++
	}
	if len(counts) < 600 || len(minutes) != 60 {
		t.Errorf("1000 names have %d times and %d minutes", len(counts), len(minutes))
	}
}
