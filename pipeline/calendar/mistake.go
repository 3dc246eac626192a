package calendar

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/pipelined/pipelined/pipeline"
)

// names are the expressions of one word that the parser knows.
var names = []string{"@yearly", "@annually", "@monthly", "@weekly", "@daily", "@midnight", "@hourly"}

// checkName is for an expression of one word.
func checkName(parts []string) error {
	text := strings.Join(parts, " ")
	if slices.Contains(names, text) {
		return nil
	}
	if near := pipeline.Nearest(text, names); near != "" {
		return fmt.Errorf("unknown name %.40q: did you mean %s?", text, near)
	}
	return fmt.Errorf("unknown name %.40q: expected %s, or @every with a duration", text, strings.Join(names, ", "))
}

// single is an element of one number.
var single = regexp.MustCompile(`^[0-9]+$`)

// whole is an element that begins with a star. The parser would ignore what else follows
// it.
var whole = regexp.MustCompile(`^[*?](/[0-9]+)?$`)

// checkFields finds the first element that is wrong, of all fields of an expression, and
// says in which field it is. Each is parsed alone, since the parser names no field.
func checkFields(parts []string) error {
	for i, part := range parts {
		at := len(fields) - len(parts) + i
		for text := range strings.SplitSeq(part, ",") {
			alone := strings.Fields(strings.Repeat("* ", len(fields)))
			alone[at] = text

			_, err := parser.Parse(strings.Join(alone, " "))
			var number *strconv.NumError
			switch f := fields[at]; {
			case text == "":
				return fmt.Errorf("%s %.40q: nothing before or after a comma", f.name, part)
			case strings.HasPrefix(text, "h") && spread.MatchString(strings.ToUpper(text)):
				return fmt.Errorf("%s %.40q: a value that follows from the pipeline's name is a capital H: %s", f.name, text, strings.ToUpper(text))
			case errors.As(err, &number) || err != nil && single.MatchString(text) || err == nil && strings.ContainsAny(text[:1], "*?") && !whole.MatchString(text):
				return fmt.Errorf("%s %.40q: expected %s", f.name, text, f.expected)
			case err != nil:
				return fmt.Errorf("%s: %w", f.name, err)
			}
		}
	}
	return nil
}
