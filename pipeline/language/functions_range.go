package language

import (
	"errors"
	"fmt"

	"github.com/zclconf/go-cty/cty"
	"github.com/zclconf/go-cty/cty/function"
)

// rangeFunc is range(end), range(start, end) and range(start, end, step). It makes as
// many numbers as a block may have instances.
var rangeFunc = function.New(&function.Spec{
	VarParam: &function.Parameter{Name: "params", Type: cty.Number},
	Type:     function.StaticReturnType(cty.List(cty.Number)),
	Impl:     func(args []cty.Value, _ cty.Type) (cty.Value, error) { return numbersOf(args) },
})

func numbersOf(args []cty.Value) (cty.Value, error) {
	if n := len(args); n == 0 || n > 3 {
		return cty.NilVal, errors.New("must have one, two or three arguments")
	}

	start, end := cty.Zero, args[0]
	if len(args) > 1 {
		start, end = args[0], args[1]
	}

	up := end.GreaterThan(start).True()
	step := cty.NumberIntVal(-1)
	if up {
		step = cty.NumberIntVal(1)
	}

	if len(args) == 3 {
		step = args[2]
		rising := step.GreaterThan(cty.Zero).True()
		switch {
		case step.Equals(cty.Zero).True():
			return cty.NilVal, function.NewArgErrorf(2, "step must not be zero")
		case !start.Equals(end).True() && rising != up:
			return cty.NilVal, function.NewArgErrorf(2, "step leads away from the end")
		}
	}

	var list []cty.Value
	for n := start; up && n.LessThan(end).True() || !up && n.GreaterThan(end).True(); n = n.Add(step) {
		if len(list) == maxInstances {
			return cty.NilVal, fmt.Errorf("range makes at most %d numbers", maxInstances)
		}
		list = append(list, n)
	}

	if len(list) == 0 {
		return cty.ListValEmpty(cty.Number), nil
	}

	return cty.ListVal(list), nil
}
