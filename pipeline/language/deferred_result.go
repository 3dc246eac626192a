package language

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"

	"github.com/zclconf/go-cty/cty"

	"github.com/pipelined/pipelined/pipeline"
)

// resultValue turns what a module left into an object.
func resultValue(raw json.RawMessage) (cty.Value, error) {
	if len(bytes.TrimSpace(raw)) == 0 {
		return cty.EmptyObjectVal, nil
	}

	if len(raw) > pipeline.MaxResultBytes {
		return cty.DynamicVal, fmt.Errorf("longer than %d KiB", pipeline.MaxResultBytes>>10)
	}

	if nestedDeeper(string(raw), maxNesting-8) {
		return cty.DynamicVal, errors.New("nested too deep")
	}

	d := json.NewDecoder(bytes.NewReader(raw))
	d.UseNumber()
	var x any
	if err := d.Decode(&x); err != nil {
		return cty.DynamicVal, errors.New("not JSON")
	}

	if _, err := d.Token(); err != io.EOF {
		return cty.DynamicVal, errors.New("not one JSON object")
	}

	if _, ok := x.(map[string]any); !ok {
		return cty.DynamicVal, errors.New("not a JSON object")
	}

	return jsonValue(x)
}

func jsonValue(x any) (cty.Value, error) {
	switch x := x.(type) {
	case nil:
		return cty.NullVal(cty.DynamicPseudoType), nil
	case bool:
		return cty.BoolVal(x), nil
	case string:
		return cty.StringVal(x), nil
	case json.Number:
		// Whole numbers of usual size are kept short: HCL's 512 bits make
		// text of them thirty times slower.
		if n, err := strconv.ParseInt(string(x), 10, 64); err == nil {
			return cty.NumberIntVal(n), nil
		}
		if !smallNumber([]byte(x)) {
			return cty.DynamicVal, fmt.Errorf("number %s is out of range", quote(string(x)))
		}
		return cty.ParseNumberVal(string(x))
	case []any:
		list := make([]cty.Value, len(x))
		for i, e := range x {
			v, err := jsonValue(e)
			if err != nil {
				return v, err
			}
			list[i] = v
		}
		return cty.TupleVal(list), nil
	case map[string]any:
		object := make(map[string]cty.Value, len(x))
		for k, e := range x {
			v, err := jsonValue(e)
			if err != nil {
				return v, err
			}
			object[k] = v
		}
		return cty.ObjectVal(object), nil
	}

	return cty.DynamicVal, fmt.Errorf("unexpected %T", x)
}
